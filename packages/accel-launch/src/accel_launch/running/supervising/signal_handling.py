"""Signals to the launcher, passed on to the guardian from within the handler."""

from __future__ import annotations

import os
import select
import time

from accel_launch.ranks.signals import ENDING, PASSED_ON, signal, waker
from accel_launch.running import process
from accel_launch.running.output import terminals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from accel_launch.running.guardian.orders import Orders
    from accel_launch.running.supervising.terminal import Terminal


class SignalHandling:
    """Handles the signals that the launcher wasn't started with as ignored."""

    def __init__(self, orders: Orders, failed: Callable[[], bool], resize: Callable[[], None]) -> None:
        """Take where to pass signals on, whether the run has failed, and how to resize the ranks' terminals.

        Raises:
            OSError: the system has no more descriptors.
        """
        self.woken = waker()
        self.orders, self.failed, self.resize = orders, failed, resize
        self.ignored = frozenset(number for number in PASSED_ON if signal.getsignal(number) == signal.SIG_IGN)
        self.ended_by = 0
        """The signal that ended the run, before any rank had failed or standing still had ended it."""
        self.at: float | None = None
        """When it came, in seconds since the epoch."""
        self.first, self.first_at = 0, 0.0
        """The first signal that asks for the end, also after the run had failed, and when it came."""
        self.stopping = False
        """Whether the last of SIGTSTP and SIGCONT was the former."""
        self.terminal: Terminal | None = None
        """The terminal, if there is one that a rank reads."""
        self.note: Callable[[int, float], None] | None = None
        """Who is told of that, once."""

    @property
    def hurried(self) -> bool:
        """Whether a signal asks for the end, so that slow readers aren't waited for, and nothing starts again."""
        return bool(self.first)

    def start(self) -> None:
        """Handle signals from now on."""
        for number in PASSED_ON:
            if number not in self.ignored:
                signal.signal(number, self._handle)

    def wait(self, poller: select.poll, seconds: float) -> list[tuple[int, int]]:
        """Wait ``seconds`` at most, or without an end if that is negative; a signal ends it, and is handled then."""
        poller.register(self.woken, select.POLLIN)
        ready = poller.poll(max(seconds * 1000, -1))
        if any(fd == self.woken for fd, _events in ready):
            os.read(self.woken, 4096)
        return [each for each in ready if each[0] != self.woken]

    def rest(self, *, unread: bool) -> None:
        """Handle signals as after the end of the run, of which a part may be ``unread`` by who looks on.

        What ends nothing is ignored: when Python ends, it gives handled signals their defaults back, which kill.
        """
        terminals.restore()
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
        for number in ENDING:
            if number not in self.ignored:
                signal.signal(number, process.hurry)
        if unread and self.first:
            process.hurry(self.first)

    def interrupt(self) -> None:
        """Act as if an interrupt had come, if no signal has: the caller's terminal may have sent one here too."""
        if not self.first:
            self._handle(signal.SIGINT, None)

    def terminate(self) -> None:
        """Act as if SIGTERM had come, if no signal asks for the end yet."""
        if not self.first:
            self._handle(signal.SIGTERM, None)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        """Act at once: the main loop may be waiting for a write to a slow reader."""
        if number == signal.SIGWINCH:
            self.resize()  # first: a rank that gets the signal looks at its terminal's size
        terminal = self.terminal
        if number == signal.SIGINT and terminal is not None and terminal.interrupt():
            return
        if number in (signal.SIGTSTP, signal.SIGCONT):
            self.stopping = number == signal.SIGTSTP
        if number == signal.SIGTSTP and terminal is not None:
            terminal.stop()
        if number == signal.SIGCONT and terminal is not None:
            terminal.go_on()
        if number in ENDING:
            if not self.first:
                self.first, self.first_at = number, time.time()
            if not self.ended_by and not self.failed():
                self.ended_by, self.at = number, time.time()
        self.orders.send(number)
        self._tell()
        own = os.getpid()
        if number == signal.SIGTSTP and self.stopping:  # no SIGCONT has come meanwhile: there may be no second one
            os.kill(own, signal.SIGSTOP)

    def noted_by(self, note: Callable[[int, float], None]) -> None:
        """Have ``note`` called with the first signal that asks for the end, and when it came."""
        self.note = note
        self._tell()

    def _tell(self) -> None:
        note = self.note
        if self.first and note is not None:
            self.note = None
            note(self.first, self.first_at)
