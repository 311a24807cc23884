"""How the supervisor ends a run without a signal or a failure here, and how it waits after an interrupt."""

from __future__ import annotations

import time

from accel_launch.ranks.signals import signal
from accel_launch.running.guardian.orders import KILL, OVER, STOP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from accel_launch.planning.types import Plan
    from accel_launch.running.guardian.orders import Orders
    from accel_launch.running.supervising.signal_handling import SignalHandling

SOON = 2.0  # seconds in which ranks may end after an interrupt without a word


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


class Patience:
    """Tells once who goes on after an interrupt. Python may lose one that comes while a script starts."""

    def __init__(self, plan: Plan) -> None:
        """Print nothing where the plan's own lines aren't printed."""
        self.grace, self.due = plan.grace, plan.display.announced

    def left(self, signals: SignalHandling) -> float | None:
        """Return the seconds until the line is due; None if it isn't."""
        if not self.due or signals.ended_by != signal.SIGINT or self.grace <= SOON:
            return None
        return max(0.0, signals.first_at + SOON - time.time())

    def look(
        self, signals: SignalHandling, running: Callable[[], Iterable[int]], print_line: Callable[[str], None]
    ) -> None:
        """Print the line if it is due, and a rank of those that ``running`` returns still runs."""
        if self.left(signals) != 0.0:
            return
        self.due = False
        if ranks := sorted(running()):
            from accel_launch.inspecting.groups import spans

            left = max(0.0, signals.first_at + self.grace - time.time())
            name = "rank" if len(ranks) == 1 else "ranks"
            print_line(
                f"accel: waiting for {name} {spans(ranks)} to end; killed in {left:.0f} s, or now by another Ctrl-C\n"
            )
