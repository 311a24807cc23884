"""The line that shows which machines are absent, for how long, and where they should go."""

from __future__ import annotations

import os
import sys
import time

from accel_config.front import say as print_error
from accel_config.showing.printable import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.lifeline import Lifeline

FIRST = 5.0  # seconds until the first line off a terminal; each next one comes twice as late
LAST = 300.0  # seconds between two lines at most
SHORT = 1.0  # seconds of waiting that aren't worth a line


class Waiting:
    """Shows one line that changes on a terminal, else a line at growing intervals."""

    def __init__(self, line: Lifeline) -> None:
        """Start to wait."""
        self.line = line
        self.since = time.monotonic()
        self.terminal = os.isatty(2)
        self.due = self.since + (SHORT if self.terminal else FIRST)
        self.shown = False

    @property
    def seconds(self) -> float:
        """How long it has been."""
        return time.monotonic() - self.since

    def show(self, missing: tuple[int, ...] | None) -> None:
        """Show which machines are missing, if it is time to."""
        now = time.monotonic()
        told_by_main = self.line.shared and not self.line.main and missing is not None
        if now < self.due or self.line.quiet or told_by_main:
            return
        text = f"accel: {self.text(missing)}"
        if self.terminal:
            self.due = now + 1
            wide = max(20, _columns() - 1)
            print_error(f"\r\x1b[K{one_line(text)[:wide]}", styled=True)
            self.shown = True
        else:
            self.due = now + min(max(FIRST, self.seconds), LAST)
            print_error(f"{one_line(text)}\n")

    def text(self, missing: tuple[int, ...] | None) -> str:
        """Return what the run waits for."""
        place, took = self.line.place, f"{self.seconds:.0f} s"
        if missing is None and self.line.main:
            return f"waiting for the other machines ({took}): they should dial {place}"
        if missing is None:
            return f"waiting for machine 0, the main one, at {place} ({took})"
        if missing and self.line.least <= self.line.machines - len(missing):
            return f"enough machines are here ({took}); the agents wait a moment for {named(missing)}"
        if not missing:
            return f"all machines are here; waiting for their agents to meet at {place} ({took})"
        return f"waiting for {named(missing)} ({took}): {'it' if len(missing) == 1 else 'they'} should dial {place}"

    def end(self) -> None:
        """Clear the line."""
        if self.shown:
            self.shown = False
            print_error("\r\x1b[K", styled=True)


def named(machines: tuple[int, ...]) -> str:
    """Return machines in words: ``machine 1``, ``machines 1, 3-5``."""
    from accel_launch.inspecting.groups import spans

    return f"{'machine' if len(machines) == 1 else 'machines'} {spans(machines)}"


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return 80
