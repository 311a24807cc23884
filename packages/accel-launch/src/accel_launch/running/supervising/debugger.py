"""The terminal of a rank under a debugger: interrupts go to this rank alone, and the end leaves it as it was."""

from __future__ import annotations

import os
import termios

from accel_launch.running.guardian.orders import ASIDE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_launch.running.guardian.orders import Orders
    from accel_launch.running.supervising.signal_handling import SignalHandling


class Debugger:
    """What the launcher does about the terminal while a rank has it."""

    def __init__(self, runs: Callable[[], bool], orders: Orders, signals: SignalHandling) -> None:
        """Take whether the rank runs."""
        self.runs, self.orders = runs, orders
        try:
            self.mode = termios.tcgetattr(0)
        except termios.error:  # it isn't a terminal
            self.mode = None
        signals.aside, signals.restore = self.interrupt, self.restore

    def interrupt(self) -> bool:
        """Interrupt the rank alone; return False if it doesn't run."""
        runs = self.runs()
        if runs:
            self.orders.send(ASIDE)
        return runs

    def restore(self) -> None:
        """Set the terminal as it was, unless it is somebody else's now: a rank that is killed leaves no echo."""
        try:
            if self.mode is not None and os.tcgetpgrp(0) == os.getpgrp():
                termios.tcsetattr(0, termios.TCSADRAIN, self.mode)
        except (OSError, termios.error):
            pass  # it has gone
