"""The process that has started this launcher process from Python, seen through a pipe."""

from __future__ import annotations

import os

from accel_launch.running.guardian.orders import KILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Sequence

    from accel_launch.running.guardian.orders import Orders
    from accel_launch.running.supervising.signal_handling import SignalHandling


class CallingProcess:
    """Interrupts the run at a byte from the pipe, and kills everything at its end."""

    def __init__(self, fd: int | None, orders: Orders, signals: SignalHandling) -> None:
        """Read from ``fd``; None: no such process."""
        self.fd, self.orders, self.signals = fd, orders, signals
        self.gone = False
        """Whether it has ended."""

    def register(self, poller: select.poll) -> None:
        """Wait for it too."""
        if self.fd is not None:
            poller.register(self.fd, 1)  # select.POLLIN

    def step(self, poller: select.poll, ready: Sequence[tuple[int, int]]) -> None:
        """Act on what it sends, or on its end."""
        if self.fd is None or self.fd not in dict(ready):
            return
        if os.read(self.fd, 1):
            self.signals.interrupt()
            return
        poller.unregister(self.fd)
        self.fd = None
        self.gone = True
        self.orders.send(KILL)
