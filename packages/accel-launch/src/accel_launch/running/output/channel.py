"""What one rank writes to its standard output or error."""

from __future__ import annotations

import os
import time

from accel_launch.running.output import terminals
from accel_launch.running.output.marks import filled
from accel_launch.running.output.stream import CHUNK, LINE_ENDS, Source, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar

    from accel_launch.running.output.log_file import LogFile
    from accel_launch.running.output.tail import Tail

LONGEST = 1 << 16  # bytes of one line kept back for its end
PATIENCE = 0.05  # seconds after which the beginning of a line is passed on without its end
RECENT = 1 << 12  # bytes of its standard output kept to see how far it came
BURSTS = 128  # of what a channel brings, whose order with those of others is kept
TIMEOUTS = (
    b"imed out waiting ",
    b"collective operation timeout",
    b"monitoredBarrier",
    b"wait timeout after ",
    b"seconds waiting for clients",
    b"client socket has timed out ",
)
"""Of what torch prints when a rank has waited too long for another; see `report.evidence.timeouts`."""
LOST = b"/pair.cc:"
"""Of what gloo prints when the connection to another rank is gone: the file of its source."""
LONGEST_WORDS = max(map(len, (*TIMEOUTS, LOST)))


class Channel(Source):
    """The read end of a rank's standard output or error."""

    latest: ClassVar[Channel | None] = None
    """From which something came last, of all ranks."""

    def __init__(self, fd: int, stream: Stream) -> None:
        """Read from ``fd`` for ``stream``."""
        self.fd, self.stream = fd, stream
        self.shown, self.sized = True, False
        self.debugged = False
        """Whether the rank has the terminal for a debugger: its bytes go on at once, and nobody breaks its prompt."""
        self.own: tuple[int, int] | None = None
        """Lines and columns of who looks on, if the rank has a terminal though our output isn't one."""
        self.local, self.mark = 0, ""
        """The local rank, and what the prefix is made of."""
        self.ranked: Callable[[], int] | None = None
        """Returns the rank that prints, where that isn't the local one."""
        self.number, self.starts = 0, 0
        """Which stream of the rank it is, if that is kept, and how often the rank is known to have been started."""
        self.file: LogFile | None = None
        self.tail: Tail | None = None
        self.recent = bytearray()
        """The end of what was written, where no tail is kept."""
        self.take: Callable[[bytes], None] | None = None
        """What takes whole lines, instead of the stream."""
        self.line = bytearray()
        self.folding: Callable[[Channel, bytes], bytes] | None = None
        """Returns what to show of whole lines, on a terminal that doesn't show every traceback."""
        self.folded, self.folded_at = bytearray(), 0.0
        """A traceback that is held back, and since when."""
        self.since = 0.0
        self.traceback_at = 0.0
        """When a traceback last began, in seconds since the epoch."""
        self.complained: Callable[[bool], None] | None = None
        """Called when the rank complains that it has waited too long for another one, or (True) has lost it."""
        self.written, self.written_at = 0, 0.0
        """How many bytes have come, and when the last ones, in seconds since the epoch."""
        self.bursts: list[tuple[int, float]] = []
        """Of what came without anything from another channel meanwhile: where it ends, and when it began."""
        os.set_blocking(fd, False)

    def set_rank(self, rank: int) -> None:
        """Set the prefix for a rank, and leave room for it in the rank's terminal."""
        prefix = filled(self.mark, rank)
        if not self.sized or len(prefix) != len(self.prefix):
            self.prefix, self.sized = prefix, True
            self.resize()
        self.prefix = prefix

    def resize(self) -> None:
        """Give the rank's terminal the size of ours, less the prefix: a full-width progress bar stays one line."""
        less = len(self.prefix.decode())
        try:
            if self.own is not None:
                terminals.set_size(self.fd, self.own, less)
            elif self.stream.terminal:
                terminals.resize(self.fd, self.stream.fd, less)
        except OSError:
            pass  # one of the two has just been closed

    @property
    def blocked(self) -> bool:
        """Whether the rank has to wait until our own reader has caught up."""
        return self.shown and self.stream.full(self)

    def read(self) -> bool:
        """Take what can be read; return False at the end of file."""
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
            self._show(data)
        return True

    def _keep(self, data: bytes) -> None:
        if self.file is not None:
            self.file.write(data)
        self.written, self.written_at = self.written + len(data), time.time()
        began = self.bursts.pop()[1] if Channel.latest is self and self.bursts else self.written_at
        self.bursts = [*self.bursts[1 - BURSTS :], (self.written, began)]
        Channel.latest = self
        if self.tail is None:
            self.recent += data[-RECENT:]
            if len(self.recent) > 2 * RECENT:
                del self.recent[:-RECENT]
        else:
            if self.tail.add(data):
                self.traceback_at = self.written_at
            if self.complained is not None:
                latest = self.tail.end[-len(data) - LONGEST_WORDS + 1 :]
                if any(words in latest for words in (LOST, *TIMEOUTS)):
                    self.complained(LOST in latest)

    @property
    def prompting(self) -> bool:
        """Whether its unfinished line is a prompt, at which somebody types."""
        return self.debugged and not self.ended and terminals.edited()

    def ends(self, data: bytes) -> bool:
        """Return whether this ends a line: a prompt goes on when it is drawn again, or makes room for a menu."""
        return data.endswith(b"\n" if self.debugged else LINE_ENDS) and not self.prompting

    def _show(self, data: bytes) -> None:
        if self.debugged:
            end = data.rfind(b"\n") + 1
            self._pass(data[:end])
            self._pass(data[end:])
            return
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if not self.line or end:
            self.since = time.monotonic()
        if end:
            self._put(bytes(self.line) + data[:end])
            self.line = bytearray(data[end:])
        else:
            self.line += data
        if len(self.line) > LONGEST:
            self.flush()

    def is_rank(self) -> int:
        """Return the rank that prints."""
        return self.local if self.ranked is None else self.ranked()

    @property
    def end(self) -> bytes:
        """The end of what was written."""
        return bytes(self.recent if self.tail is None else self.tail.end)

    def flush(self) -> None:
        """Pass on an unfinished line."""
        if self.line and self.folded:
            self.folded += self.line
        elif self.line:
            self._pass(bytes(self.line))
        self.line.clear()

    def _put(self, lines: bytes) -> None:
        self._pass(lines if self.folding is None else self.folding(self, lines))

    def unfolded(self) -> bytes:
        """Return what was held back; it isn't any more."""
        held = bytes(self.folded)
        self.folded.clear()
        return held

    def _pass(self, data: bytes) -> None:
        if self.take is None:
            self.stream.put(self, data)
        else:
            self.take(data)

    def close(self) -> None:
        """Pass on what is left, and close the channel and its log file."""
        self.flush()
        self.ended = True
        if self.debugged:  # the others may take a while to end, and Ctrl-C has to reach us again
            terminals.restore()
        if self.prefix and self.stream.open is self:
            self.stream.put(self, b"\n")  # a line with a prefix is a whole line, also at the end
        os.close(self.fd)
        if self.file is not None:
            self.file.close()
