"""The way of everything that ranks print: from their channels to our streams and the log files."""

from __future__ import annotations

import select
import time

from accel_config.showing.printable import printable
from accel_launch.running.output.channel import PATIENCE, Channel
from accel_launch.running.output.channels import Channels
from accel_launch.running.output.log_file import STDERR, STDOUT
from accel_launch.running.output.log_folder import LogFolder
from accel_launch.running.output.stream import Stream
from accel_launch.running.output.terminals import SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from accel_launch.planning.types import Display
    from accel_launch.running.caller import Caller
    from accel_launch.running.output.folding import Folding


class OutputRouter:
    """Carries everything from the ranks' channels to our streams and the log files."""

    def __init__(self, display: Display, caller: Caller | None = None, stdout: int = STDOUT) -> None:
        """Show and keep what ``display`` asks for, and write what is for the ``caller``; ``stdout`` is our output.

        Raises:
            OSError: the folder for log files can't be created.
        """
        out, err = Stream(stdout), Stream(STDERR)
        self.streams = (err, err) if out.is_same_file(err) else (out, err)
        self.distinct = tuple({stream.fd: stream for stream in self.streams}.values())
        self.caller = caller
        self.folding: Folding | None = None
        self.held = False
        """Whether a rank has to wait until our own reader has caught up."""
        self.display, self.logs = display, LogFolder(display)
        self.channels = self.begin(0)

    def begin(self, attempt: int) -> Channels:
        """Make what the channels of an attempt will be among, and return it."""
        size = self.channels.size if attempt else SIZE
        self.channels = Channels(self.display, self.streams, self.logs, self.caller, attempt)
        self.channels.size = size
        self.folding = None
        return self.channels

    def end(self, poller: select.poll) -> None:
        """Give up the channels of an attempt, so that nothing comes late, and end its unfinished lines."""
        for channel in self.channels.open.values():
            _unregister(poller, channel.fd)
            channel.close()
        self.channels.open.clear()
        for stream in self.all:
            stream.end_line()

    @property
    def all(self) -> tuple[Stream, ...]:
        """Everything that is written: our streams, and what is for the caller."""
        return self.distinct if self.caller is None else (*self.distinct, self.caller.stream)

    def fold(self, failed: Callable[[], bool], interrupted: Callable[[], bool]) -> None:
        """From now on hold back tracebacks that are consequences, if standard error is a terminal."""
        if self.streams[1].terminal:
            from accel_launch.running.output.folding import Folding

            self.folding = Folding(failed, interrupted)
            for channel in self.channels.open.values():
                channel.folding = self.folding.show if channel.tail is not None and channel.local >= 0 else None

    @property
    def held_back(self) -> list[Channel]:
        """The channels with tracebacks that were never shown."""
        return [channel for channels in self.channels.all.values() for channel in channels if channel.folded]

    @property
    def needs_end(self) -> bool:
        """Whether standard error needs something before a report; a caller from Python prints that itself."""
        error = self.streams[1]
        return error.terminal or (error.unfinished and self.caller is None)

    def print(self, line: str) -> None:
        """Put a line of ours between the ranks' own on standard error; what would move the cursor is shown."""
        line = printable(line)
        if self.caller is None or not self.caller.say(line):
            self.streams[1].put(None, line.encode(errors="replace"))

    def redraw(self) -> None:
        """Write an unfinished line again."""
        for stream in self.distinct:
            stream.redraw()

    def register(self, poller: select.poll) -> None:
        """Register what to wait for next."""
        self.held = False
        for fd, channel in self.channels.open.items():
            if channel.blocked:
                self.held = True
                _unregister(poller, fd)  # or its end of file would be reported again and again
            else:
                poller.register(fd, select.POLLIN)
        for stream in self.all:
            if not stream.gone:
                # Also without anything to write, so that a reader that goes away is noticed.
                poller.register(stream.fd, select.POLLOUT if stream.waiting else 0)

    def handle(self, poller: select.poll, ready: Iterable[tuple[int, int]]) -> bool:
        """Move what is ready; return whether ranks have printed anything."""
        printed = False
        for fd, events in ready:
            channel = self.channels.open.get(fd)
            if channel is not None:
                printed = self._read(channel, poller) or printed
            for stream in self.all:
                if stream.fd == fd:
                    self._write(stream, events, poller)
        return printed

    def _read(self, channel: Channel, poller: select.poll) -> bool:
        """Take what a rank has printed; return whether there was anything."""
        self.channels.renew(channel)
        if channel.blocked:
            return False
        if not channel.read():
            poller.unregister(channel.fd)
            del self.channels.open[channel.fd]
            return False
        return True

    def _write(self, stream: Stream, events: int, poller: select.poll) -> None:
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
        for channel in self.channels.open.values():
            if channel.take is not None:  # it waits for the line's end
                continue
            if channel.line and channel.since + PATIENCE <= now:
                channel.flush()
            elif channel.line:
                due.append(channel.since + PATIENCE - now)
        left = self.folding.overdue(self.channels.open.values()) if self.folding is not None else None
        if left is not None:
            due.append(left)
        for stream in self.all:
            left = stream.release()
            if left is not None:
                due.append(left)
        return min(due, default=None)

    @property
    def gone(self) -> bool:
        """Whether one of our readers went away, or what ranks print can't be written any more."""
        return any(stream.gone for stream in self.all)

    @property
    def unwritable(self) -> tuple[str, ...]:
        """Which of our streams can't be written any more, and why."""
        named = zip(("output", "error")[-len(self.distinct) :], self.distinct, strict=True)
        return tuple(
            f"standard {name} can't be written: {stream.failure}" for name, stream in named if stream.failure
        )

    @property
    def waiting(self) -> bool:
        """Whether anything still has to be written."""
        return any(stream.waiting or stream.held for stream in self.all)


def _unregister(poller: select.poll, fd: int) -> None:
    try:
        poller.unregister(fd)
    except KeyError:
        pass  # it wasn't registered
