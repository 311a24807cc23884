"""How the supervisor ends a run without a signal or a failure on this machine."""

from __future__ import annotations

import time

from accel_launch.running.guardian.orders import KILL, OVER, STOP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_launch.running.guardian.orders import Orders


class Stopping:
    """Ends the run once; where another machine has failed, within a limit."""

    def __init__(self, orders: Orders) -> None:
        """Take how to end it."""
        self.orders = orders
        self.stopped = False
        self.deadline: float | None = None

    def stop(self, started: Callable[[], bool], *, signalled: bool, grace: float | None) -> None:
        """Stop, or go on stopping.

        Args:
            started: Whether an engine has started ranks.
            signalled: Whether a signal has reached the ranks already.
            grace: Seconds for them to end where other machines wait for that; None: the guardian's own.
        """
        if self.deadline is not None and time.monotonic() > self.deadline:
            self.deadline = None
            self.orders.send(OVER)
        if self.stopped:
            return
        self.stopped = True
        if grace is not None and not started():
            self.orders.send(KILL)  # an agent that waits for others ignores signals, and has nothing to finish
        elif not signalled:
            self.orders.send(STOP)
            self.deadline = None if grace is None else time.monotonic() + grace
