"""The channels of all ranks: pipes or terminals, and the log files of each."""

from __future__ import annotations

import os

from accel_launch.running.output import marks, terminals
from accel_launch.running.output.channel import Channel
from accel_launch.running.output.log_file import STDERR, STDOUT
from accel_launch.running.output.tail import Tail
from accel_launch.running.report.observation import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_launch.planning.types import Display
    from accel_launch.running.caller import Caller
    from accel_launch.running.engine_record import EngineRecord
    from accel_launch.running.output.log_file import LogFile
    from accel_launch.running.output.log_folder import LogFolder
    from accel_launch.running.output.stream import Stream

ENGINE = -1
"""The key of an engine's own output among those of local ranks."""


class Channels:
    """Makes the channels, and holds what is known of each rank's output."""

    def __init__(
        self,
        display: Display,
        streams: tuple[Stream, Stream],
        logs: LogFolder,
        caller: Caller | None,
        attempt: int,
    ) -> None:
        """Show and keep what ``display`` asks for; a ``caller`` that wants lines gets them instead of ``streams``."""
        self.display, self.streams, self.logs = display, streams, logs
        self.attempt = attempt
        """The number of the attempt, where an engine doesn't number its own."""
        self.size = terminals.SIZE
        """Lines and columns of terminals that ours has nothing to do with."""
        self.caller = caller if caller is not None and caller.lines else None
        self.open: dict[int, Channel] = {}
        """Those that haven't come to their end, by descriptor."""
        self.all: dict[int, list[Channel]] = {}
        """Those of each local rank."""
        self.record: EngineRecord | None = None
        """How an engine starts its ranks, if it does."""
        self.files: list[LogFile] = []
        self.ranks_ends: list[int] = []
        """To close once the ranks have them."""

    def attach(self, rank: int, local: int, label: str = "") -> tuple[int, int]:
        """Make a rank's standard output and error; return the rank's ends.

        A process that isn't a rank has a ``label``, which stands before each of its lines.

        Raises:
            OSError: the system has no more descriptors, or a log file can't be created.
        """
        out, err = self.streams
        before = [self._mark(local, number, label) for number in (STDOUT, STDERR)]
        one = out is err and out.terminal and self.caller is None
        if one and before[0] == before[1] and not self.logs.streams(local):
            # One terminal for both keeps their order, as it would without us.
            channel, ranks_end = self._channel(local, err, rank, before[0])
            channel.tail = Tail()
            return ranks_end, ranks_end
        ends: list[int] = []
        for number, stream, mark in zip((STDOUT, STDERR), self.streams, before, strict=True):
            channel, ranks_end = self._channel(local, stream, rank, mark)
            channel.tail = Tail() if number == STDERR else None
            channel.number, channel.file = number, self._file(local, number)
            self._for_caller(channel, local, rank, number)
            ends.append(ranks_end)
        return ends[0], ends[1]

    def _for_caller(self, channel: Channel, local: int, rank: int, number: int) -> None:
        """Let a caller that takes lines take those of this channel."""
        caller = self.caller
        if caller is not None and caller.records:
            channel.stream, channel.number = caller.stream, number
            channel.ranked = lambda: self._rank(local, rank)
        elif caller is not None:
            channel.stream, channel.mark = caller.stream, ""
            channel.set_rank(rank)
            channel.take = lambda data: caller.print(self._rank(local, rank), number, data)

    def _mark(self, local: int, number: int, label: str) -> str:
        """Return what stands before each line of a local rank's stream, with ``${rank}`` for its rank."""
        if not label and local < len(self.display.marked) and self.display.marked[local] & number:
            return marks.torchruns(self.display.role, local)
        prefix = self.display.prefix and local != self.display.debugged
        return f"[{label}] " if label else marks.ranks(self.display.host) if prefix else ""

    def _file(self, local: int, number: int) -> LogFile | None:
        file = self.logs.file(local, number, self.attempt_of(local))
        if file is not None:
            self.files.append(file)
        return file

    def attempt_of(self, local: int) -> int:
        """Return how often a local rank has been started again."""
        return max(0, len(self.record.ranks_of(local)) - 1) if self.record is not None else self.attempt

    def attach_engine(self) -> tuple[int, int]:
        """Make the streams of an engine. Its output is kept in case that it fails without a rank failing."""
        ours, engines_end = os.pipe()
        channel = Channel(ours, self.streams[1])
        channel.shown, channel.tail = False, Tail()
        self._add(ENGINE, channel, engines_end)
        return engines_end, engines_end

    def _channel(self, local: int, stream: Stream, rank: int, mark: str) -> tuple[Channel, int]:
        terminal = stream.terminal if self.caller is None else self.display.terminals
        ours, ranks_end = terminals.opened(terminal=terminal, named=self.record is not None)
        channel = Channel(ours, stream)
        if terminal and self.caller is not None:
            channel.own = self.size
        channel.shown = self.display.shown is None or local in self.display.shown
        channel.local, channel.mark = local, mark
        channel.debugged = rank == self.display.debugged
        self._add(local, channel, ranks_end)
        channel.set_rank(rank)
        return channel, ranks_end

    def _rank(self, local: int, rank: int) -> int:
        """Return the rank of a local rank, which an engine may have given another than ``rank``."""
        ranks = self.record.ranks_of(local) if self.record is not None else []
        return ranks[-1] if ranks else rank

    def _add(self, local: int, channel: Channel, ranks_end: int) -> None:
        self.open[channel.fd] = channel
        self.all.setdefault(local, []).append(channel)
        self.ranks_ends.append(ranks_end)

    def let_go(self) -> None:
        """Close the ranks' ends, which are the ranks' alone from now on."""
        for fd in self.ranks_ends:
            os.close(fd)
        self.ranks_ends.clear()

    def on_timeout(self, complained: Callable[[bool], None]) -> None:
        """Have ``complained`` called when a rank prints that it has waited too long for another one, or lost it."""
        for local, channels in self.all.items():
            for channel in channels:
                channel.complained = complained if local != ENGINE and channel.tail is not None else None

    def renew(self, channel: Channel) -> None:
        """Give a channel another prefix or log file, if an engine has assigned another rank or started it again."""
        if self.record is None or not (channel.mark or channel.file):
            return
        ranks = self.record.ranks_of(channel.local)
        if ranks:
            channel.set_rank(ranks[-1])
        if channel.file is not None and len(ranks) > channel.starts:
            channel.starts = len(ranks)
            if channel.starts > 1:
                self._renew_file(channel)

    def _renew_file(self, channel: Channel) -> None:
        if channel.file is not None:
            channel.file.close()
        try:
            channel.file = self._file(channel.local, channel.number)
        except OSError as error:
            channel.file = None
            self.logs.failures.append(f"{error.filename} can't be created: {error.strerror}")

    def resize(self) -> None:
        """Give the ranks' terminals the size of ours."""
        for channel in self.open.values():
            if channel.own is None:
                channel.resize()
            else:  # who attaches has set it
                channel.own = self.size = terminals.size(channel.fd, len(channel.prefix.decode()))

    @property
    def incomplete(self) -> tuple[str, ...]:
        """Which log files are incomplete, and why."""
        return (*self.logs.failures, *(file.failure for file in self.files if file.failure))

    def log(self, local: int) -> str | None:
        """Return the folder of a local rank's log files in its last attempt; None if none are kept."""
        return self.logs.of(local, self.attempt_of(local))

    def last_output(self, local: int) -> Output:
        """Return the end of what a local rank wrote to its standard error; of the engine's output for `ENGINE`."""
        kept = [channel for channel in self.all.get(local, []) if channel.tail is not None]
        return Output(
            b"".join(bytes(channel.tail or b"") for channel in kept).decode(errors="replace"),
            max((channel.traceback_at for channel in kept), default=0.0),
            max((channel.written_at for channel in kept), default=0.0),
        )
