"""The process that called `accel_launch.run`, to which its launcher process sends events, lines and the result."""

from __future__ import annotations

import os

from accel_launch.running.output.stream import Stream
from accel_launch.running.report.records import Line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.report.records import Event

NAMES = {1: "stdout", 2: "stderr"}


class Caller:
    """The other end of a pipe."""

    records = False
    """Whether its stream takes what is printed as our own streams do, beginnings of lines and prefixes too."""

    def __init__(self, fd: int, *, lines: bool) -> None:
        """Write to ``fd``; with ``lines`` the caller gets what ranks print, instead of the standard streams."""
        self.stream, self.lines = self._stream(fd), lines
        self.failure = ""
        """Why it hasn't got everything."""

    def _stream(self, fd: int) -> Stream:
        return Stream(fd)

    def send(self, kind: str, value: object) -> None:
        """Send something, at the latest with `flush`."""
        import pickle

        self.stream.put(None, pickle.dumps((kind, value)))

    def say(self, _line: str) -> bool:
        """Take a line of the launcher; return whether it isn't for standard error."""
        return False

    def event(self, event: Event) -> None:
        """Send an event."""
        self.send("event", event)

    def print(self, rank: int, fd: int, data: bytes) -> None:
        """Send whole lines that a rank has printed to its descriptor ``fd``."""
        for line in data.splitlines():  # of bytes: letters such as U+2028 end no line
            self.send("line", Line(rank, NAMES[fd], line.decode(errors="replace")))

    def flush(self) -> None:
        """Write all that waits, however slow the caller is."""
        os.set_blocking(self.stream.fd, True)
        while self.stream.waiting and not self.stream.gone:
            self.stream.write()
