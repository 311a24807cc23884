"""The terminal that a rank reads: interrupts, Ctrl-Z and the background as if the rank were our own job.

Ranks are in a session of their own, so the kernel stops none that reads the terminal in the background.
"""

from __future__ import annotations

from accel_launch.running.guardian.orders import ASIDE
from accel_launch.running.output import terminals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_launch.running.guardian.orders import Orders
    from accel_launch.running.output.terminals import Mode


class Terminal:
    """What the launcher does about its terminal while a rank reads it."""

    def __init__(self, debugs: Callable[[], bool], orders: Orders, redraw: Callable[[], None]) -> None:
        """Take whether a rank runs that has the terminal for a debugger, and what draws an unfinished line again."""
        self.debugs, self.orders, self.redraw = debugs, orders, redraw
        self.prompt: Mode | None = None
        """The terminal's mode at a rank's prompt, while the job is stopped there."""
        terminals.remember()

    def interrupt(self) -> bool:
        """Interrupt the rank under a debugger alone; return False if none runs."""
        runs = self.debugs()
        if runs:
            self.orders.send(ASIDE)
        return runs

    def stop(self) -> None:
        """Leave the terminal to the shell, as it was."""
        self.prompt = terminals.mode() if terminals.edited() else None
        terminals.restore()

    def go_on(self) -> None:
        """Come back to the terminal, and to a prompt as it was left."""
        prompt, self.prompt = self.prompt, None  # a signal that comes while we wait is handled before we go on
        if prompt is not None or self.debugs():
            terminals.await_foreground()
        if prompt is not None:
            terminals.set_mode(prompt)
            self.redraw()
