"""The difference between this machine's clock and the main machine's."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.lifeline.remote_failure import RemoteFailure


class Clock:
    """Learns the difference from heartbeats that the main machine echoes: best from the quickest echo."""

    def __init__(self) -> None:
        """Assume that the clocks agree."""
        self.offset = 0.0
        """Seconds that the main machine's clock is ahead."""
        self.best = float("inf")
        """Seconds that the quickest echo took."""

    def compare(self, sent: float, echoed: float) -> None:
        """Learn from the echo of what was ``sent``, which the main machine ``echoed`` by its own clock."""
        now = time.time()
        if 0 <= now - sent < self.best:
            self.best, self.offset = now - sent, echoed - (sent + now) / 2

    def now(self) -> float:
        """Return the time by the main machine's clock, in seconds since the epoch."""
        return time.time() + self.offset

    def dated(self, failure: RemoteFailure) -> RemoteFailure:
        """Return a failure of this machine with its time by the main machine's clock."""
        return failure.replace(at=failure.at + self.offset)
