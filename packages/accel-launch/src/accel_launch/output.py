"""What ranks print, on its way to the user and to log files: in whole lines and bounded memory."""

from __future__ import annotations

import errno
import os
import select
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .plan import Display

CHUNK = 65536
PIPE_SAFE = 4096  # bytes that a pipe takes without blocking once it is writable
FULL = 1 << 20  # bytes waiting for one stream of ours, above which ranks are no longer read
LONGEST = 1 << 16  # bytes of one line kept back for its end
PATIENCE = 0.05  # seconds after which the beginning of a line is passed on without its end
COURTESY = 0.5  # seconds that other ranks' lines wait for the end of a line whose beginning was passed on
TRACEBACK = b"Traceback (most recent call last):"
TAIL = 1 << 15  # bytes of a rank's standard error kept for the failure report
STDOUT, STDERR = 1, 2


class Stream:
    """One of our own standard streams, written without ever blocking on a slow reader."""

    def __init__(self, fd: int) -> None:
        """Write to ``fd``."""
        self.fd = fd
        self.terminal = os.isatty(fd)
        self.waiting = bytearray()
        self.gone = False
        self.trouble = ""
        """Why it can't be written, where it isn't for want of a reader."""
        self.open: Channel | None = None
        """The channel whose unfinished line stands at the end of what was written."""
        self.held: list[tuple[Channel | None, bytes]] = []
        """What other channels have to say meanwhile, since `held_since`."""
        self.held_since = 0.0
        self.step = CHUNK if stat.S_ISREG(os.fstat(fd).st_mode) else PIPE_SAFE

    @property
    def full(self) -> bool:
        """Whether so much waits that ranks must wait as well."""
        return len(self.waiting) + sum(len(data) for _channel, data in self.held) > FULL

    def put(self, channel: Channel | None, data: bytes) -> None:
        """Take whole lines, or the beginning of one, from a channel; hold them while another's line is unfinished.

        Without a channel they are lines of ours.
        """
        if self.gone or not data:
            return
        if self.open is not None and self.open is not channel:
            if not self.held:
                self.held_since = time.monotonic()
            self.held.append((channel, data))
            return
        starts = self.open is not channel
        self.waiting += marked(data, channel.mark, starts=starts) if channel and channel.mark else data
        self.open = None if data.endswith((b"\n", b"\r")) else channel
        if self.open is None and self.held:
            self._release()

    def release(self) -> None:
        """Wait no longer for the end of an unfinished line: what was held begins on a line of its own."""
        if self.held:
            self.waiting += b"\n"
            self.open = None
            self._release()

    def _release(self) -> None:
        held, self.held = self.held, []
        for channel, data in held:
            self.put(channel, data)

    def write(self) -> None:
        """Write some of what waits; the stream is writable."""
        try:
            written = os.write(self.fd, self.waiting[: self.step])
        except BlockingIOError:
            return
        except OSError as error:
            self.lose()
            if error.errno not in (errno.EPIPE, errno.EIO):
                self.trouble = os.strerror(error.errno or 0)
            return
        del self.waiting[:written]

    def lose(self) -> None:
        """Give up: nobody takes what is written here."""
        self.gone = True
        self.waiting.clear()
        self.held.clear()


def marked(data: bytes, mark: bytes, *, starts: bool) -> bytes:
    """Put ``mark`` before each line of ``data``; before the first only if it ``starts`` there."""
    lines = data.replace(b"\r", b"\r" + mark).replace(b"\r" + mark + b"\n", b"\r\n").replace(b"\n", b"\n" + mark)
    lines = lines.removesuffix(mark) if data.endswith((b"\n", b"\r")) else lines
    return mark + lines if starts else lines


class Channel:
    """What one rank writes to its standard output or error."""

    def __init__(self, fd: int, stream: Stream) -> None:
        """Read from ``fd`` for ``stream``."""
        self.fd, self.stream = fd, stream
        self.shown = True
        self.mark = b""
        self.local, self.form = 0, ""
        """Whose it is, and how the mark is made of its rank."""
        self.file: LogFile | None = None
        self.tail: bytearray | None = None
        self.line = bytearray()
        self.since = 0.0
        self.cried = 0.0
        """When a traceback last began, in seconds since the epoch."""
        os.set_blocking(fd, False)

    @property
    def held_up(self) -> bool:
        """Whether the rank has to wait until our own reader has caught up."""
        return self.shown and self.stream.full

    def read(self) -> bool:
        """Take what is there; False at the end of it."""
        try:
            data = os.read(self.fd, CHUNK)
        except BlockingIOError:
            return True
        except OSError:  # a terminal whose last writer is gone
            data = b""
        if not data:
            self.close()
            return False
        self._keep(data)
        if self.shown:
            self._take(data)
        return True

    def _keep(self, data: bytes) -> None:
        if self.file is not None:
            self.file.write(data)
        if self.tail is not None:
            self.tail += data
            if TRACEBACK in data:
                self.cried = time.time()
            if len(self.tail) > 2 * TAIL:
                del self.tail[:-TAIL]

    def _take(self, data: bytes) -> None:
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if not self.line or end:
            self.since = time.monotonic()
        if end:
            self.stream.put(self, bytes(self.line) + data[:end])
            self.line = bytearray(data[end:])
        else:
            self.line += data
        if len(self.line) > LONGEST:
            self.flush()

    def flush(self) -> None:
        """Pass on an unfinished line."""
        if self.line:
            self.stream.put(self, bytes(self.line))
            self.line.clear()

    def close(self) -> None:
        """Pass on what is left and let go."""
        self.flush()
        if self.mark and self.stream.open is self:
            self.stream.put(self, b"\n")  # what has a mark is a line, also at the end
        os.close(self.fd)
        if self.file is not None:
            self.file.close()


class LogFile:
    """A file that keeps what a rank writes to one of its streams. A full disk ends the file, not the run."""

    def __init__(self, path: str) -> None:
        """Make it, with its folder."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.path, self.trouble = path, ""
        self.fd: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def write(self, data: bytes) -> None:
        """Add to its end, as long as that can be done."""
        while data and self.fd is not None:
            try:
                data = data[os.write(self.fd, data) :]
            except OSError as error:
                self.trouble = f"the log file {self.path} breaks off: {error.strerror}"
                self.close()

    def close(self) -> None:
        """Let go of it."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class Pump:
    """Carries everything from the ranks' channels to our streams and the log files."""

    def __init__(self, display: Display) -> None:
        """Write to our standard output and error what ``display`` asks for, and keep what it asks to keep."""
        self.display = display
        self.streams = (Stream(STDOUT), Stream(STDERR))
        self.channels: dict[int, Channel] = {}
        self.all: dict[int, list[Channel]] = {}
        self.rank_of: Callable[[int], int] | None = None
        """Tells a local rank's rank where an engine assigns it once it runs."""
        self.terminals: list[int] = []
        self.theirs: list[int] = []
        """The ranks' ends, to close once the ranks have them."""
        self.folder = _run_folder(display.log_dir) if display.log_dir is not None and any(display.kept) else None

    def attach(self, rank: int, local: int, label: str = "") -> tuple[int, int]:
        """Make a rank's standard output and error; return the ends that the rank gets.

        What is no rank has a ``label``, which stands before each of its lines.
        """
        mark = label or (str(rank) if self.display.prefix else "")
        kept = self.display.kept[local] if local < len(self.display.kept) else 0
        if all(stream.terminal for stream in self.streams) and not kept:
            # One terminal for both keeps their order, as it would without us.
            out, err = (self._channel(local, mark, self.streams[1]),) * 2
        else:
            out, err = (self._channel(local, mark, stream) for stream in self.streams)
        for which, name in ((STDOUT, "stdout"), (STDERR, "stderr")):
            if kept & which and self.folder is not None:
                channel = self.all[local][which - 1]
                channel.file = LogFile(os.path.join(self.folder, "attempt_0", str(local), f"{name}.log"))
                if self.display.tee:
                    channel.form = f"[{self.display.role}{{}}]:"
                    channel.mark = channel.form.format(rank).encode()
        return out, err

    def aside(self) -> tuple[int, int]:
        """Make the streams of an engine, whose own words are kept for when it fails without a rank failing."""
        ours, theirs = os.pipe()
        channel = Channel(ours, self.streams[1])
        channel.shown, channel.tail = False, bytearray()
        self.channels[ours] = channel
        self.all[-1] = [channel]
        self.theirs.append(theirs)
        return theirs, theirs

    def say(self, line: str) -> None:
        """Put a line of ours between the ranks' own on standard error."""
        self.streams[1].put(None, line.encode(errors="replace"))

    def _channel(self, local: int, mark: str, stream: Stream) -> int:
        ours, theirs = self._terminal(stream) if stream.terminal else os.pipe()
        channel = Channel(ours, stream)
        channel.shown = self.display.shown is None or local in self.display.shown
        channel.mark = f"[{mark}] ".encode() if mark else b""
        channel.local, channel.form = local, "[{}] " if self.display.prefix else ""
        channel.tail = bytearray() if stream.fd == STDERR else None
        self.channels[ours] = channel
        self.all.setdefault(local, []).append(channel)
        self.theirs.append(theirs)
        return theirs

    def _terminal(self, stream: Stream) -> tuple[int, int]:
        import fcntl
        import termios

        ours, theirs = os.openpty()
        mode = termios.tcgetattr(theirs)
        mode[1] &= ~termios.OPOST  # the user's own terminal does what output needs
        termios.tcsetattr(theirs, termios.TCSANOW, mode)
        fcntl.ioctl(ours, termios.TIOCSWINSZ, fcntl.ioctl(stream.fd, termios.TIOCGWINSZ, b"\0" * 8))
        self.terminals.append(ours)
        return ours, theirs

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
            if channel.held_up:
                _forget(poller, fd)  # or its end would be told again and again
            else:
                poller.register(fd, select.POLLIN)
        for stream in self.streams:
            if not stream.gone:
                # Also without anything to write, so that a reader that goes away is noticed.
                poller.register(stream.fd, select.POLLOUT if stream.waiting else 0)

    def handle(self, poller: select.poll, ready: Iterable[tuple[int, int]]) -> None:
        """Move what is ready."""
        for fd, events in ready:
            channel = self.channels.get(fd)
            if channel is not None and channel.form and self.rank_of is not None:
                channel.mark = channel.form.format(self.rank_of(channel.local)).encode()
            if channel is not None and not channel.held_up and not channel.read():
                poller.unregister(fd)
                del self.channels[fd]
            for stream in self.streams:
                if stream.fd == fd:
                    self._serve(stream, events, poller)

    def _serve(self, stream: Stream, events: int, poller: select.poll) -> None:
        if stream.waiting:
            stream.write()
        elif events & select.POLLERR:
            stream.lose()
        if stream.gone:
            poller.unregister(stream.fd)

    def overdue(self) -> float | None:
        """Pass on what waited long enough; return the seconds until something else will have."""
        now = time.monotonic()
        due: list[float] = []
        for channel in self.channels.values():
            if channel.line and channel.since + PATIENCE <= now:
                channel.flush()
            elif channel.line:
                due.append(channel.since + PATIENCE - now)
        for stream in self.streams:
            if stream.held and stream.held_since + COURTESY <= now:
                stream.release()
            elif stream.held:
                due.append(stream.held_since + COURTESY - now)
        return min(due, default=None)

    @property
    def gone(self) -> bool:
        """Whether a reader of ours went away, or what ranks print can't be written any more."""
        return any(stream.gone for stream in self.streams)

    @property
    def unwritable(self) -> tuple[str, ...]:
        """What can't be written any more, and why."""
        named = zip(("output", "error"), self.streams, strict=True)
        return tuple(
            f"standard {name} can't be written: {stream.trouble}" for name, stream in named if stream.trouble
        )

    @property
    def broken_off(self) -> tuple[str, ...]:
        """Which log files aren't whole, and why."""
        files = [channel.file for channels in self.all.values() for channel in channels]
        return tuple(file.trouble for file in files if file is not None and file.trouble)

    @property
    def waiting(self) -> bool:
        """Whether anything is still to be written."""
        return any(stream.waiting or stream.held for stream in self.streams)

    def tail(self, local: int) -> str:
        """Return the end of what a local rank wrote to its standard error; of the engine for -1."""
        kept = (channel.tail for channel in self.all.get(local, []) if channel.tail is not None)
        return b"".join(map(bytes, kept)).decode(errors="replace")

    def cried(self, local: int) -> float:
        """Return when a local rank's last traceback began; 0 where there was none."""
        return max((channel.cried for channel in self.all.get(local, [])), default=0.0)

    def log_of(self, local: int) -> str | None:
        """Return the folder of a local rank's log files."""
        kept = local < len(self.display.kept) and self.display.kept[local]
        return os.path.join(self.folder, "attempt_0", str(local)) if self.folder is not None and kept else None

    def let_go(self) -> None:
        """Close the ranks' ends, which are the ranks' alone from now on."""
        for fd in self.theirs:
            os.close(fd)
        self.theirs.clear()


def _forget(poller: select.poll, fd: int) -> None:
    try:
        poller.unregister(fd)
    except KeyError:
        pass  # it wasn't waited for


def _run_folder(log_dir: str) -> str:
    """Return a new folder for this run's log files, named as torchrun does."""
    folder = os.path.abspath(os.path.join(os.path.expanduser(log_dir), f"none_{os.urandom(4).hex()}"))
    os.makedirs(folder)
    return folder
