"""What the launcher and its watcher let each other know without a word: moments, in memory that they share."""

from __future__ import annotations

import struct
import time
from mmap import mmap

from accel_config.record import Record

DOUBLE = 8  # bytes
OFTEN = 15.0  # seconds between two looks whether it is back, at most: it changes its mind
GRACE = 10.0  # seconds after a moment by which the watcher wanted to be back: it, or all of us, may have been stopped


class Moment:
    """A moment in monotonic seconds, which a process and its forks share: whoever sets it, all know."""

    def __init__(self) -> None:
        """Start with 0, long ago."""
        self.shared = mmap(-1, DOUBLE)

    def get(self) -> float:
        """Return it."""
        return struct.unpack("d", self.shared[:])[0]

    def set(self, at: float) -> None:
        """Change it."""
        self.shared[:] = struct.pack("d", at)


class Moments(Record):
    """What launcher and watcher let each other know."""

    output: Moment
    """When a rank last printed something."""
    disturbed: Moment
    """When ranks were last stopped for a moment, to be looked at."""
    moved: Moment
    """When the watcher last saw something move."""
    back: Moment
    """By when the watcher wanted to be back, at the latest, from whatever it does; 0 if it has done nothing yet."""

    @classmethod
    def shared(cls) -> Moments:
        """Return new ones, to be shared with forks."""
        return cls(Moment(), Moment(), Moment(), Moment())


class Absence:
    """Whether the watcher comes back when it wanted: stopped or blocked it would tell nothing, for ever."""

    def __init__(self, back: Moment) -> None:
        """Look for the first time after a grace."""
        self.back, self.next = back, time.monotonic() + GRACE
        """The moment by which it wants to be back, and when to look whether it is."""
        self.late: float | None = None
        """The moment by which it wanted to be back, if it wasn't."""

    def proven(self) -> bool:
        """Look whether it is back, if that is due; return whether it still isn't after a grace."""
        back, now = self.back.get(), time.monotonic()
        if now < self.next:
            return False
        if now < back:
            self.late, self.next = None, min(back, now + OFTEN)
        elif self.late != back:
            self.late, self.next = back, now + GRACE
        else:
            return True
        return False
