"""When the watcher looks: seldom while nothing can come of it, and at the moment when there is something to tell."""

from __future__ import annotations

import time

from accel_launch.running.onlookers.stall.telling import PATIENCE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.onlookers.stall.sweeping import Sweeps

QUIET = 0.3  # of the time after which standing still is told: from then on stacks are looked at
LATER = 0.43  # of it, if looks at one rank have shown the last time that the run gets on
LATEST = 0.95  # of it, if a rank was seen that may get on: a few looks show whether it still may
ALONE = 0.5  # of it: until then at one rank at a time
LATE = 0.85  # of it: until then at none if no rank does anything
SHORT = 30.0  # seconds: if standing still is told after less, there is no time for that
LOOKS = 20  # in the whole time
SELDOM = 0.07, 0.13
"""Of it between two looks at one rank that shows seldom that the run gets on; irregular, as it may have a period."""
RARELY = 0.2  # of it between two looks, once the standstill was told several times
SLOWEST, FASTEST = 10.0, 0.1  # seconds between two looks at the counters
SPARSE, SPARSEST = 2, 3  # times as long while nothing can be told; and where the run shows seldom that it gets on


class Pace:
    """How long nothing has moved, and what follows from that for the next look."""

    def __init__(self, after: float, moved: float, sweeps: Sweeps) -> None:
        """Start with a run that has ``moved`` last then, and is looked at by ``sweeps`` at first.

        Args:
            after: Seconds after which standing still is told.
            moved: In monotonic seconds, as all moments here.
            sweeps: Knows what looks at one rank at a time have shown.
        """
        self.after, self.moved, self.sweeps = after, moved, sweeps
        self.short = after < SHORT
        self.tick = min(max(after / 30, FASTEST), SLOWEST)
        self.looked = 0.0
        """When CPU time, and what comes after it, was looked at last."""
        self.known = -1.0, 0.0
        """Such a moment, and the same by the clock."""
        self.told = 0
        """How often the present standstill was told."""
        self.doubted = 0.0
        """When something last moved before a rank came back to the same lines for the whole time; 0 if none did."""
        self.idle, self.near = False, False
        """Whether no rank did anything at the last look; and whether all are looked at although none does."""

    def begin_anew(self, moved: float, doubted: float = 0.0) -> None:
        """Something has moved; or perhaps it has, ``doubted`` since then."""
        self.moved, self.told, self.near, self.doubted = max(self.moved, moved), 0, False, doubted

    def doubts(self, *, doubtful: bool) -> float:
        """Return since when nothing moves but a rank that may get on; 0 if that isn't so."""
        since = time.monotonic() if self.told else self.doubted or self.moved
        return since if doubtful else 0.0

    def lasts(self, doubted: float) -> bool:
        """Return whether it is time to say that a rank may get on: once, when it has taken very long."""
        return bool(doubted) and self.moved - doubted < PATIENCE * self.after <= time.monotonic() - doubted

    def since(self, now: float) -> float:
        """Return when something last moved, in seconds since the epoch as ``now``: the same for one standstill."""
        if self.known[0] != self.moved:
            self.known = self.moved, now - self.quiet
        return self.known[1]

    @property
    def quiet(self) -> float:
        """The seconds for which nothing has moved."""
        return time.monotonic() - self.moved

    @property
    def begins(self) -> float:
        """The seconds of quiet from which on stacks are looked at."""
        if self.near:
            return 0.0
        return (LATEST if self.doubted else LATER if self.sweeps.shown else QUIET) * self.after

    @property
    def ends(self) -> float:
        """The seconds of quiet after which the standstill is told, for the first time or again."""
        return self.after * 2**self.told

    @property
    def one_by_one(self) -> bool:
        """Whether one rank at a time is looked at."""
        until = LATE if self.sweeps.suffice else ALONE
        return not self.near and not self.short and self.quiet < until * self.after

    @property
    def waits(self) -> bool:
        """Whether no rank does anything, so that there is nothing to see in stacks until they have to be told."""
        return self.idle and not self.near and not self.short and self.quiet < LATE * self.after

    @property
    def every(self) -> float:
        """The seconds between two looks at stacks; the more, the longer the run has stood still."""
        usual = SPARSE * self.tick if self.idle else self.tick
        if self.one_by_one:
            least, most = SELDOM
            share = least + (most - least) * (self.looked * 0.618 % 1)
            return max(usual, share * self.after) if self.sweeps.slow else usual
        if self.waits:
            return usual
        return max(self.tick, min(self.after / LOOKS * 2**self.told, self.after * RARELY))

    @property
    def calm(self) -> float:
        """The seconds until a look at more than counters is due; less than 0 from then on."""
        return self.begins - self.every - self.quiet

    @property
    def due(self) -> float:
        """When the next look is due: at the latest at the moment at which the standstill is to be told."""
        usual, tell = self.looked + self.every, self.moved + self.ends
        return min(usual, tell) if tell > self.looked else usual

    @property
    def pause(self) -> float:
        """The seconds until the next look at the counters."""
        if self.calm > 0:
            longer = (SPARSEST if self.sweeps.slow else SPARSE) * self.tick
            return max(min(longer, self.calm), self.tick)
        return min(SPARSE * self.tick, max(self.due - time.monotonic(), FASTEST))
