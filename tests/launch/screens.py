"""A program on a terminal of some size: what it shows now, and what it leaves behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence

STYLE = re.compile(r"\x1b\[([0-9;]*)m")
HOME, ENTER, LEAVE = "\x1b[H", "\x1b[?1049h", "\x1b[?1049l"


class Screen:
    """A program whose terminal we are. It draws each screen from the upper left corner on, line by line."""

    def __init__(
        self,
        words: Sequence[object],
        environ: dict[str, str],
        columns: int = 80,
        lines: int = 24,
        term: str = "xterm",
    ) -> None:
        self.ours, end = pty.openpty()
        self.seen = ""
        self.size = columns, lines
        self.mode = termios.tcgetattr(end)
        self.resize(columns, lines)
        self.popen = subprocess.Popen(
            ["setsid", "--ctty", *map(str, words)],
            stdin=end,
            stdout=end,
            stderr=end,
            env={**environ, "TERM": term},
        )
        self.theirs = end

    def resize(self, columns: int, lines: int) -> None:
        """Give the terminal another size; the kernel tells the program."""
        self.size = columns, lines
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self.ours, keys.encode())

    def read(self) -> bool:
        """Read what has come; return whether anything has."""
        if not select.select([self.ours], [], [], 0.05)[0]:
            return False
        self.seen += os.read(self.ours, 65536).decode(errors="replace")
        return True

    @property
    def shown(self) -> list[str]:
        """The lines of the last screen, without styles."""
        text = STYLE.sub("", self.seen.rpartition(HOME)[2]).replace("\x1b[2K", "").partition("\x1b[")[0]
        return [line.rstrip() for line in text.replace("\r", "").split("\n")]

    def until(self, true: Callable[[list[str]], object], within: float = 40.0) -> list[str]:
        """Read until the screen is as it should be; return its lines."""
        end = time.monotonic() + within
        while not true(self.shown) or self.read():
            assert time.monotonic() < end, "\n".join(self.shown)
            self.read()
        return self.shown

    def has(self, text: str, within: float = 40.0) -> list[str]:
        """Read until the screen has a text; return its lines."""
        return self.until(lambda lines: any(text in line for line in lines), within)

    def end(self) -> str:
        """Wait for the program's end; return what came after the last screen."""
        end = time.monotonic() + 40
        while self.popen.poll() is None:
            assert time.monotonic() < end, "\n".join(self.shown)
            self.read()
        while self.read():
            pass
        return self.seen.rpartition(LEAVE)[2].replace("\r\n", "\n")

    @property
    def restored(self) -> bool:
        """Whether the terminal is as it was before."""
        cursor = self.seen.rfind("\x1b[?25h") > self.seen.rfind(HOME)
        left = self.seen.count(ENTER) == self.seen.count(LEAVE)
        return cursor and left and termios.tcgetattr(self.theirs) == self.mode

    def close(self) -> None:
        """End the program, and the terminal."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(10)
        os.close(self.ours)
        os.close(self.theirs)
