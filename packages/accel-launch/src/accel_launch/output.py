"""What ranks print, on its way to the user: whole lines, from pipes or terminals, in bounded memory."""

from __future__ import annotations

import os
import select
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

CHUNK = 65536
PIPE_SAFE = 4096  # bytes that a pipe takes without blocking once it is writable
FULL = 1 << 20  # bytes waiting for one stream of ours, above which ranks are no longer read
LONGEST = 1 << 16  # bytes of one line kept back for its end
PATIENCE = 0.05  # seconds after which the beginning of a line is passed on without its end
TAIL = 1 << 15  # bytes of a rank's standard error kept for the failure report


class Stream:
    """One of our own standard streams, written without ever blocking on a slow reader."""

    def __init__(self, fd: int) -> None:
        """Write to ``fd``."""
        self.fd = fd
        self.waiting = bytearray()
        self.gone = False
        self.open: Channel | None = None
        """The channel whose unfinished line stands at the end of what was written."""
        self.step = CHUNK if stat.S_ISREG(os.fstat(fd).st_mode) else PIPE_SAFE

    @property
    def full(self) -> bool:
        """Whether so much waits that ranks must wait as well."""
        return len(self.waiting) > FULL

    def put(self, channel: Channel, data: bytes) -> None:
        """Take whole lines, or the beginning of one, from a channel."""
        if self.gone or not data:
            return
        if self.open is not None and self.open is not channel:
            self.waiting += b"\n"  # another rank's line isn't finished; ours begins on a line of its own
        self.waiting += data
        self.open = None if data.endswith((b"\n", b"\r")) else channel

    def write(self) -> None:
        """Write some of what waits; the stream is writable."""
        try:
            written = os.write(self.fd, self.waiting[: self.step])
        except BlockingIOError:
            return
        except OSError:
            self.gone = True
            self.waiting.clear()
            return
        del self.waiting[:written]


class Channel:
    """What one rank writes to its standard output or error."""

    def __init__(self, rank: int, fd: int, stream: Stream, *, tail: bool) -> None:
        """Read from ``fd`` for ``stream``; keep the ``tail`` for the report."""
        self.rank, self.fd, self.stream = rank, fd, stream
        self.line = bytearray()
        self.since = 0.0
        self.tail = bytearray() if tail else None
        self.closed = False
        os.set_blocking(fd, False)

    def read(self) -> bool:
        """Take what is there; False at the end of it."""
        try:
            data = os.read(self.fd, CHUNK)
        except BlockingIOError:
            return True
        except OSError:  # a terminal whose last writer is gone
            data = b""
        if not data:
            self._close()
            return False
        if self.tail is not None:
            self.tail += data
            if len(self.tail) > 2 * TAIL:
                del self.tail[:-TAIL]
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if end:
            self.stream.put(self, bytes(self.line) + data[:end])
            self.line = bytearray(data[end:])
            self.since = time.monotonic()
        else:
            if not self.line:
                self.since = time.monotonic()
            self.line += data
        if len(self.line) > LONGEST:
            self.flush()
        return True

    def flush(self) -> None:
        """Pass on an unfinished line."""
        if self.line:
            self.stream.put(self, bytes(self.line))
            self.line.clear()

    def _close(self) -> None:
        if not self.closed:
            self.flush()
            os.close(self.fd)
            self.closed = True


class Pump:
    """Carries everything from the ranks' channels to our streams."""

    def __init__(self) -> None:
        """Write to our standard output and error."""
        self.streams = (Stream(1), Stream(2))
        self.channels: dict[int, Channel] = {}
        self.terminals: list[int] = []
        self.ours: list[int] = []
        """The ranks' ends, to close once the ranks have them."""

    def attach(self, rank: int) -> tuple[int, int]:
        """Make a rank's standard output and error; return the ends that the rank gets."""
        terminals = [os.isatty(stream.fd) for stream in self.streams]
        if all(terminals):
            # One terminal for both keeps their order, as it would without us.
            fd = self._terminal(rank, self.streams[1], tail=True)
            return fd, fd
        out, err = (
            self._terminal(rank, stream, tail=stream.fd == 2)  # noqa: PLR2004
            if terminal
            else self._pipe(rank, stream, tail=stream.fd == 2)  # noqa: PLR2004
            for stream, terminal in zip(self.streams, terminals, strict=True)
        )
        return out, err

    def _pipe(self, rank: int, stream: Stream, *, tail: bool) -> int:
        ours, theirs = os.pipe()
        self.channels[ours] = Channel(rank, ours, stream, tail=tail)
        self.ours.append(theirs)
        return theirs

    def _terminal(self, rank: int, stream: Stream, *, tail: bool) -> int:
        import fcntl
        import termios

        ours, theirs = os.openpty()
        mode = termios.tcgetattr(theirs)
        mode[1] &= ~termios.OPOST  # the user's own terminal does what output needs
        mode[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, mode)
        fcntl.ioctl(ours, termios.TIOCSWINSZ, fcntl.ioctl(stream.fd, termios.TIOCGWINSZ, b"\0" * 8))
        self.channels[ours] = Channel(rank, ours, stream, tail=tail)
        self.terminals.append(ours)
        self.ours.append(theirs)
        return theirs

    def resize(self) -> None:
        """Tell the ranks' terminals the size of ours."""
        import fcntl
        import termios

        for fd in self.terminals:
            if fd in self.channels:
                size = fcntl.ioctl(self.channels[fd].stream.fd, termios.TIOCGWINSZ, b"\0" * 8)
                fcntl.ioctl(fd, termios.TIOCSWINSZ, size)

    def register(self, poller: select.poll) -> None:
        """Say what to wait for next."""
        for fd, channel in self.channels.items():
            poller.register(fd, 0 if channel.stream.full else select.POLLIN)
        for stream in self.streams:
            poller.register(stream.fd, select.POLLOUT if stream.waiting else 0)

    def handle(self, poller: select.poll, ready: Iterable[int]) -> None:
        """Move what is ready."""
        for fd in ready:
            channel = self.channels.get(fd)
            if channel is not None and not channel.stream.full and not channel.read():
                poller.unregister(fd)
                del self.channels[fd]
            for stream in self.streams:
                if stream.fd == fd and stream.waiting:
                    stream.write()

    def overdue(self) -> float | None:
        """Pass on beginnings of lines that waited long enough; return the seconds until the next one is due."""
        now = time.monotonic()
        soonest = None
        for channel in self.channels.values():
            if channel.line:
                left = channel.since + PATIENCE - now
                if left <= 0:
                    channel.flush()
                elif soonest is None or left < soonest:
                    soonest = left
        return soonest

    @property
    def gone(self) -> bool:
        """Whether a reader of ours went away."""
        return any(stream.gone for stream in self.streams)

    @property
    def waiting(self) -> bool:
        """Whether anything is still to be written."""
        return any(stream.waiting for stream in self.streams)

    def tail(self, rank: int) -> str:
        """Return the end of what the rank wrote to its standard error."""
        kept = (channel.tail for channel in self.kept if channel.rank == rank and channel.tail is not None)
        return b"".join(map(bytes, kept)).decode(errors="replace")

    def keep(self) -> None:
        """Remember the channels for the report, and let go of the ranks' ends."""
        self.kept = tuple(self.channels.values())
        for fd in self.ours:
            os.close(fd)
        self.ours.clear()


def secure_streams() -> None:
    """Open the standard streams that are closed, so that no pipe of ours takes their numbers."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # pyright: ignore[reportUnnecessaryComparison]
            stream.flush()
