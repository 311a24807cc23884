"""The terminal while it shows screens: keys one by one, signals in their turn, and as it was before in every end."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
import tty
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

BEGIN = "\x1b[?1049h\x1b[?25l"
"""Another screen than the shell's, without a cursor."""
END = "\x1b[?25h\x1b[?1049l"
KEYS = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1b[C": "right", "\x1b[D": "left",
    "\x1bOA": "up", "\x1bOB": "down", "\x1bOC": "right", "\x1bOD": "left",
    "\x1b[5~": "page up", "\x1b[6~": "page down", "\x1b": "escape", "\x7f": "escape",
}  # fmt: skip
KEY = re.compile(r"\x1b[\[O][0-?]*[ -/]*[@-~]|.", re.DOTALL)
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
TAKEN = (*ENDING, signal.SIGINT, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)
GONE = "gone"
"""The key of a terminal that isn't there any more."""


class Terminal:
    """Standard input and output, which are one terminal."""

    def __init__(self) -> None:
        """Take them."""
        self.keyboard, self.screen = sys.stdin.fileno(), sys.stdout.fileno()
        self.signals: list[int] = []
        self.woken, self.waker = os.pipe()
        self.before: dict[int, Any] = {}
        """What the signals did."""
        self.mode: list[Any] = []

    def __enter__(self) -> Self:
        """Take the terminal and the signals.

        Raises:
            OSError: it is gone.
        """
        os.set_blocking(self.waker, False)
        for number in TAKEN:
            self.before[number] = signal.signal(number, self._take)
        self._begin()
        return self

    def _take(self, number: int, _frame: object) -> None:
        self.signals.append(number)
        self.wake()

    def wake(self) -> None:
        """End the wait for keys; also from another thread."""
        with suppress(OSError):  # it is awake
            os.write(self.waker, b"\0")

    def _begin(self) -> None:
        try:
            self.mode = self.mode or termios.tcgetattr(self.keyboard)
            tty.setcbreak(self.keyboard)
        except termios.error as error:
            raise OSError(*error.args) from None
        self.write(BEGIN)

    def _restore(self) -> None:
        try:
            self.write(END)
            termios.tcsetattr(self.keyboard, termios.TCSADRAIN, self.mode)
        except (OSError, termios.error):  # it is gone
            pass

    def __exit__(self, *_error: object) -> None:
        """Give the terminal back as it was."""
        for number in TAKEN:  # a signal that comes now must not keep us from it
            signal.signal(number, signal.SIG_IGN)
        self._restore()
        for number, handler in self.before.items():
            signal.signal(number, handler)
        os.close(self.woken)
        os.close(self.waker)

    def write(self, text: str) -> None:
        """Write to the screen.

        Raises:
            OSError: it is gone.
        """
        data = text.encode(sys.stdout.encoding or "ascii", "replace")
        while data:
            data = data[os.write(self.screen, data) :]

    @property
    def size(self) -> tuple[int, int]:
        """Its columns and lines."""
        try:
            columns, lines = os.get_terminal_size(self.screen)
        except OSError:
            return 80, 24
        return columns or 80, lines or 24

    def keys(self) -> list[str]:
        """Wait until there is something to do; return the keys that were pressed.

        Raises:
            KeyboardInterrupt: one of them was Ctrl-C.
            Ended: a signal ends this process.
        """
        ready = select.select([self.keyboard, self.woken], [], [])[0]
        if self.woken in ready:
            os.read(self.woken, 1 << 10)
        while self.signals:
            self._act(self.signals.pop(0))
        if self.keyboard not in ready:
            return []
        try:
            typed = os.read(self.keyboard, 1 << 10).decode(errors="replace")
        except OSError:
            typed = ""
        return [KEYS.get(found[0], found[0]) for found in KEY.finditer(typed)] if typed else [GONE]

    def _act(self, number: int) -> None:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if number in ENDING:
            raise Ended(number)
        if number == signal.SIGTSTP:
            self._restore()
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)  # it returns in the foreground
            signal.signal(signal.SIGTSTP, self._take)
            self.mode = []  # it may be another one now
            self._begin()
        elif number == signal.SIGCONT:
            self._begin()


class Ended(Exception):
    """A signal ends this process."""

    def __init__(self, number: int) -> None:
        """Take the signal's number."""
        self.number = number

    def die(self) -> int:
        """Die by the signal; return an exit status if it has no effect."""
        signal.signal(self.number, signal.SIG_DFL)
        os.kill(os.getpid(), self.number)
        return 128 + self.number
