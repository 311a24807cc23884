"""The time between two attempts: a delay, and devices that the dead still hold. Whatever ends the run ends it."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Sequence

    from accel_launch.running.attempts.freeing import Freeing
    from accel_launch.running.guardian.orders import Orders


class Interval:
    """Waits in the supervisor's loop. Orders lead to it, so that a signal wakes the loop."""

    def __init__(self, delay: float, orders: Orders, poller: select.poll) -> None:
        """Begin to wait for ``delay`` seconds."""
        self.until, self.orders, self.poller = time.monotonic() + delay, orders, poller
        self.freeing: Freeing | None = None
        self.reader, orders.fd = os.pipe()
        poller.register(self.reader, 1)  # select.POLLIN

    def free(self, pids: Sequence[int], say: Callable[[str], None]) -> None:
        """Wait for the memory of devices too that processes of these pids held."""
        from accel_launch.running.attempts.freeing import Freeing

        self.freeing = Freeing.begin(pids, say, self.poller)

    @property
    def due(self) -> float:
        """Seconds to wait at most now; 0 when it is over."""
        left = max(0.0, self.until - time.monotonic())
        return left if self.freeing is None else max(left, self.freeing.left)

    def step(self, ready: Sequence[tuple[int, int]]) -> None:
        """Take what has come."""
        if self.reader in dict(ready):
            os.read(self.reader, 64)
        if self.freeing is not None and not self.freeing.goes_on(ready):
            self.freeing = None

    def end(self) -> None:
        """End it, whether it is over or not."""
        if self.freeing is not None:
            self.freeing.end()
        self.poller.unregister(self.reader)
        self.orders.hang_up()
        os.close(self.reader)
