"""Looks at one rank that is quiet, in two seconds: they show cheaply that it gets on, and with it the run.

Many looks by one sampler show it at once. If stacks change too seldom for that, a few looks are compared with those
of two minutes ago: that costs half as much.
"""

from __future__ import annotations

import time

from accel_launch.inspecting import kernel, sampling, snapshot
from accel_launch.inspecting.snapshot import Process, RankStack, place_of
from accel_launch.inspecting.threads import Thread
from accel_launch.running.onlookers.stall.activity import computing
from accel_launch.running.onlookers.stall.verdict import Look, apart, changes, key, kind, mixed, moving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from accel_launch.inspecting.subject import Subject
    from accel_launch.running.onlookers.stall.activity import Activity

LOOKS, BUSY = 5, 10  # a second, at a rank that doesn't compute, and at one that does
LEAST = 6  # looks that show anything
LOCKED = 0.1  # share of the looks with the interpreter's lock, at most, if a rank computes outside of it
FEW, MORE = 2, 3  # looks that are compared with earlier ones, at a rank that doesn't compute, and at one that does
PAUSE = 0.5  # seconds between them
TWICE = 2  # times that a rank is compared before others are looked at
SWEPT = 3  # the time that it is looked at as if it had become faster
USELESS = frozenset(("ended", "waiting", "paused", "stopped"))


class Sweeps:
    """Those since something last moved, and what is known from before."""

    def __init__(self, *, shared: bool) -> None:
        """Begin; ``shared`` is whether the run has ranks elsewhere, which may wait for one that loops."""
        self.shared = shared
        self.tried: dict[int, int] = {}
        """How often the ranks were looked at."""
        self.useless: set[int] = set()
        """Those of them that wait for others, or can't be looked at."""
        self.seen: dict[int, list[Look]] = {}
        """Looks at ranks since something last moved, or just then."""
        self.kept: dict[int, list[Look]] = {}
        """Those at the rank that has just shown that the run gets on."""
        self.before: dict[int, Look] = {}
        """The first look at each rank since something last moved."""
        self.first, self.latest = -1, -1
        """The rank that has shown last that the run gets on, and the one that was looked at last."""
        self.shown, self.slow = False, False
        """Whether one has shown that the last time; and whether it changes too seldom for looks in two seconds."""

    def clear(self) -> None:
        """Begin anew: something has moved."""
        self.seen, self.kept, self.latest = self.kept, {}, -1
        self.tried.clear()
        self.before.clear()
        self.useless.clear()

    @property
    def suffice(self) -> bool:
        """Whether looks at all ranks can wait, as those at the one that shows seldom that the run gets on go on."""
        looked = self.first in self.tried or not self.tried
        return self.slow and looked and self.first not in self.useless

    def show(self, ranks: Sequence[Subject], running: Collection[int], activity: Mapping[int, Activity]) -> bool:
        """Look at one more of the ranks that are ``running``; return whether it gets on."""
        chosen = self._chosen([one for one in ranks if one.pid in running and one.rank not in self.useless])
        if chosen is None:
            return False
        busy = computing(activity)
        computes = chosen.pid in busy
        self.latest = chosen.rank
        self.tried[chosen.rank] = self.tried.get(chosen.rank, 0) + 1
        if self.slow and self.tried[chosen.rank] != SWEPT:
            self.shown = self._compare(chosen, busy=computes)
        else:
            looks = self._useful(looks_at(chosen, busy=computes), LEAST)
            everywhere = not self.shared and {one.pid for one in ranks if not one.ended} <= busy
            self.shown = bool(looks) and gets_on(chosen, looks, everywhere=everywhere)
            self.slow = self.slow and not self.shown
        if self.shown:
            self.first = chosen.rank
        return self.shown

    def follow(self, subject: Subject, activity: Mapping[int, Activity]) -> None:
        """Look at a rank of which looks at all ranks have just shown that it gets on, to compare it later."""
        self.first, self.latest, self.shown, self.slow = subject.rank, subject.rank, True, True
        self.seen.pop(subject.rank, None)
        self._compare(subject, busy=subject.pid in computing(activity))
        self.kept = {subject.rank: self.seen.get(subject.rank, [])}

    def _compare(self, subject: Subject, *, busy: bool) -> bool:
        """Look a few times at a rank; return whether it does nothing that it was seen doing before."""
        before, looks = self.seen.get(subject.rank, []), list[Look]()
        known = False
        while not known and len(looks) < (MORE if busy else FEW):
            time.sleep(PAUSE * bool(looks))
            looks += self._useful([glance(subject, busy=busy)], 1)
            if subject.rank in self.useless:
                return False
            known = bool(before) and not apart(before, looks, calls=busy)
        self.seen[subject.rank] = [*before, *looks]
        if known or not before:
            return False
        self.kept = {subject.rank: looks}
        return True

    def _useful(self, looks: list[Look], least: int) -> list[Look]:
        """Return looks at a rank if they can show that it gets on."""
        if looks:
            self.before.setdefault(looks[0].stack.rank, looks[0])
        if len(looks) >= least and kind(looks) not in USELESS:
            return looks
        self.useless.add(self.latest)
        return []

    def _chosen(self, ranks: Sequence[Subject]) -> Subject | None:
        """Return the next rank; one that shows seldom that it gets on comes twice, and then every second time."""
        others = [one for one in ranks if one.rank not in self.tried]
        later = [one for one in others if one.rank > self.first]
        first = [one for one in ranks if one.rank == self.first]
        again = self.slow and (self.latest != self.first or self.tried.get(self.first, 0) < TWICE or not others)
        return next(iter((*(first if again or self.first not in self.tried else ()), *later, *others)), None)


def gets_on(subject: Subject, looks: Sequence[Look], *, everywhere: bool) -> bool:
    """Return whether looks at a rank show that it gets on.

    Args:
        subject: The rank.
        looks: Those of two seconds.
        everywhere: Whether all ranks compute, so that none waits for one that goes round in a loop.
    """
    if not looks[0].busy:
        return mixed(looks)
    if moving(looks, busy=True) or (everywhere and changes(looks)):
        return True
    locked = sampling.sweep(subject.pid, BUSY, locked=True)
    return locked is not None and len(locked) <= LOCKED * len(looks)


def looks_at(subject: Subject, *, busy: bool) -> list[Look]:
    """Return many looks at a rank, which computes if it is ``busy``; none if it can't be looked at."""
    facts = kernel.facts(subject.pid)
    if facts is None:
        return []
    found: list[Look] = []
    for frames in sampling.sweep(subject.pid, BUSY if busy else LOOKS) or ():
        process = Process(facts, (Thread(subject.pid, "", True, False, frames),))
        stack = RankStack(subject.rank, subject.local_rank, subject.pid, process, place_of(process))
        found.append(Look(stack, busy, key(stack), False))
    return found


def glance(subject: Subject, *, busy: bool) -> Look:
    """Return one look at a rank, which computes if it is ``busy``."""
    stack = snapshot.take([subject]).ranks[0]
    return Look(stack, busy, key(stack), False)
