"""The part of a later attempt that only repeats what an earlier one had done, since the last checkpoint."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_launch.running.restarting.progress import Progress

SHORTEST, SHARE = 1.0, 0.05  # seconds between two looks, and their share of the attempt's age


class Repetition:
    """Looks now and then whether an attempt has come further than all before it."""

    def __init__(self, furthest: Progress | None, look: Callable[[], Progress | None]) -> None:
        """Take how far the run had come, if anything shows it, and what shows how far the attempt is."""
        self.furthest, self.look = furthest, look
        self.began = time.monotonic()
        self.seconds = 0.0
        """How long the attempt has only repeated, as far as known."""
        self.over = furthest is None
        """Whether it has come further."""
        self.next = self.began + SHORTEST

    @property
    def due(self) -> float:
        """Seconds until the next look; -1 if none follows."""
        return -1.0 if self.over else max(0.0, self.next - time.monotonic())

    def step(self) -> None:
        """Look if it is time to."""
        now = time.monotonic()
        if not self.over and now >= self.next:
            self.next = now + max(SHORTEST, SHARE * (now - self.began))
            if not self._further():
                self.seconds = now - self.began

    def end(self) -> None:
        """Look a last time."""
        if not self.over:
            self._further()

    def _further(self) -> bool:
        found = self.look()
        self.over = found is not None and self.furthest is not None and bool(found.beyond(self.furthest))
        return self.over
