"""The launcher's own standard streams, written without ever blocking on a slow reader."""

from __future__ import annotations

import errno
import os
import stat
import time

CHUNK = 65536
PIPE_SAFE = 4096  # bytes that a pipe takes without blocking once it is writable
FULL = 1 << 20  # bytes waiting for one stream of ours, above which ranks are no longer read
COURTESY = 0.5  # seconds that other ranks' lines wait for the end of a line whose beginning was passed on
BULK = 1 << 16  # bytes of a line that count as progress: as long as a line goes on like this, the others wait
LONGEST = 1 << 28  # bytes of one line, after which the others wait no more
LINE_ENDS = (b"\n", b"\r")
NEWLINE = 10


class Source:
    """A writer of lines that may come in parts; each line begins with its prefix."""

    prefix: bytes = b""
    ended = False
    """Whether nothing more comes from it."""

    def ends(self, data: bytes) -> bool:
        """Return whether this ends a line."""
        return data.endswith(LINE_ENDS)

    @property
    def prompting(self) -> bool:
        """Whether its unfinished line is a prompt, at which somebody types."""
        return False

    @property
    def end(self) -> bytes:
        """The end of what was written."""
        return b""


class Stream:
    """One of our own standard streams."""

    def __init__(self, fd: int) -> None:
        """Write to ``fd``."""
        self.fd = fd
        self.terminal = os.isatty(fd)
        self.waiting = bytearray()
        self.gone = False
        self.unfinished = False
        """Whether the last byte that was written isn't the end of a line."""
        self.failure = ""
        """Why it can't be written, if the reason isn't that its reader went away."""
        self.open: Source | None = None
        """The source whose unfinished line is the last thing written."""
        self.held: list[tuple[Source | None, bytes]] = []
        """Lines of other sources meanwhile, since `held_since`."""
        self.held_since = 0.0
        self.passed, self.counted = 0, 0
        """Bytes of the unfinished line that were passed on, and how many of them count as progress."""
        self.step = CHUNK if stat.S_ISREG(os.fstat(fd).st_mode) else PIPE_SAFE

    def is_same_file(self, other: Stream) -> bool:
        """Return whether both write to one file, pipe or terminal, as after ``2>&1``: whole lines need one writer."""
        mine, its = os.fstat(self.fd), os.fstat(other.fd)
        return (mine.st_dev, mine.st_ino) == (its.st_dev, its.st_ino)

    def full(self, source: Source) -> bool:
        """Return whether so much waits that a source must wait as well.

        What is held waits for the source whose line is unfinished, so that one only waits for our reader.
        """
        held = 0 if self.open is source else sum(len(data) for _source, data in self.held)
        return len(self.waiting) + held > FULL

    def put(self, source: Source | None, data: bytes) -> None:
        """Take whole lines, or the beginning of one, from a source; hold them while another's line is unfinished.

        Lines without a source are the launcher's own.
        """
        if self.gone or not data:
            return
        if self.open is not None and self.open is not source and self.open.ended:
            self._end_line()
        if self.open is not None and self.open is not source:
            if not self.held:
                self.held_since = time.monotonic()
            self.held.append((source, data))
            return
        starts = self.open is not source
        if starts:
            self.passed = self.counted = 0
        self._add(source, prefixed(data, source.prefix, starts=starts) if source and source.prefix else data)
        self.open = None if (source.ends(data) if source else data.endswith(LINE_ENDS)) else source
        self.passed = len(data) - data.rfind(b"\n") - 1 + (0 if b"\n" in data else self.passed)
        if self.counted + BULK <= self.passed <= LONGEST:
            self.counted, self.held_since = self.passed, time.monotonic()
        elif self.passed < self.counted:
            self.counted = 0
        if self.open is None and self.held:
            self._release()

    def _add(self, _source: Source | None, data: bytes) -> None:
        """Take what is next in what a reader gets."""
        self.waiting += data

    def _end_line(self) -> None:
        if self.passed:  # a prompt may have ended its line itself
            self._add(self.open, b"\n")
        self.open = None

    def redraw(self) -> None:
        """Write the unfinished line again: the terminal has shown something else meanwhile."""
        if self.open is not None:
            self._add(self.open, self.open.prefix + self.open.end.rpartition(b"\n")[2])

    def end_line(self) -> None:
        """End lines that aren't finished: their sources are gone."""
        while self.open is not None and not self.gone:
            self.put(self.open, b"\n")

    def release(self) -> float | None:
        """Stop waiting for the end of an unfinished line if it is time: the held lines begin on a new line.

        Return the seconds until then; None if no line waits.
        """
        if not self.held:
            return None
        now = time.monotonic()
        if len(self.waiting) > FULL or (self.open is not None and self.open.prompting):
            self.held_since = now  # the line can't go on as long as our own reader doesn't, or somebody types
        if now < self.held_since + COURTESY:
            return self.held_since + COURTESY - now
        self._end_line()
        self._release()
        return COURTESY if self.held else None

    def _release(self) -> None:
        held, self.held = self.held, []
        for source, data in held:
            self.put(source, data)

    def write(self) -> None:
        """Write some of what waits; the stream is writable."""
        try:
            written = os.write(self.fd, self.waiting[: self.step])
        except BlockingIOError:
            return
        except OSError as error:
            self.lose()
            if error.errno not in (errno.EPIPE, errno.EIO):
                self.failure = os.strerror(error.errno or 0)
            return
        if written:
            self.unfinished = self.waiting[written - 1] != NEWLINE
        del self.waiting[:written]

    def lose(self) -> None:
        """Give up: the reader is gone."""
        self.gone = True
        self.waiting.clear()
        self.held.clear()


def prefixed(data: bytes, prefix: bytes, *, starts: bool) -> bytes:
    """Put ``prefix`` before each line of ``data``; before the first only if that ``starts`` here."""
    lines = data.replace(b"\r", b"\r" + prefix).replace(b"\r" + prefix + b"\n", b"\r\n")
    lines = lines.replace(b"\n", b"\n" + prefix)
    lines = lines.removesuffix(prefix) if data.endswith(LINE_ENDS) else lines
    return prefix + lines if starts else lines
