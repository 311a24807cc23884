"""Tracebacks on a terminal: those of ranks that fail because another rank has failed, or after Ctrl-C, are held back.

At the end they become a line each. This changes only what a terminal shows: log files, pipes and redirected output
hold every byte. The first traceback of a run is shown at once, and so is whatever turns out not to end its rank.
"""

from __future__ import annotations

import time

from accel_launch.running.output.tail import TAIL, TRACEBACK
from accel_launch.running.report import evidence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from accel_launch.running.output.channel import Channel

RECENT = 5.0  # seconds after another rank's traceback in which one may be its consequence
PATIENCE = 2.0  # seconds that it is held back if no rank fails


class Folding:
    """Decides what of the ranks' output a terminal doesn't show yet."""

    def __init__(self, failed: Callable[[], bool], interrupted: Callable[[], bool]) -> None:
        """Take whether a rank has failed, and whether Ctrl-C ends the run."""
        self.failed, self.interrupted = failed, interrupted
        self.first, self.first_at = -1, 0.0
        """The local rank whose traceback was shown last, and when."""

    def show(self, channel: Channel, data: bytes) -> bytes:
        """Take whole lines of a channel; return what to show of them."""
        if not channel.folded:
            at = data.find(TRACEBACK)
            if at < 0 or not self._follows(channel.local):
                return data
            at = max(data.rfind(b"\n", 0, at), data.rfind(b"\r", 0, at)) + 1
            data, rest = data[:at], data[at:]
            channel.folded_at = time.monotonic()
            return data + self._held(channel, rest)
        return self._held(channel, data)

    def _follows(self, local: int) -> bool:
        """Return whether a traceback that begins now may be a consequence; if not, it is the first."""
        if self.interrupted():
            return True
        now = time.monotonic()
        if local != self.first and (now - self.first_at < RECENT or self.failed()):
            return True
        self.first, self.first_at = local, now
        return False

    def _held(self, channel: Channel, data: bytes) -> bytes:
        finding = evidence.loaded()
        channel.folded += data
        if finding and len(channel.folded) <= TAIL and finding.goes_on(channel.folded.decode(errors="replace")):
            return b""
        return channel.unfolded()

    def overdue(self, channels: Iterable[Channel]) -> float | None:
        """Show what was held back long enough without a failure; return the seconds until something else was."""
        held = [channel for channel in channels if channel.folded]
        if not held or self.interrupted() or self.failed():
            return None
        now = time.monotonic()
        for channel in held:
            if channel.folded_at + PATIENCE <= now:
                channel.stream.put(channel, channel.unfolded())
        return min((channel.folded_at + PATIENCE - now for channel in held if channel.folded), default=None)
