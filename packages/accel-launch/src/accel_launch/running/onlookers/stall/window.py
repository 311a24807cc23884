"""The latest looks at the stacks of ranks that are quiet: as few as show whether they move.

A main thread that hasn't run since it was looked at has the same stack, which isn't read again then.
"""

from __future__ import annotations

import time

from accel_launch.inspecting import kernel, snapshot
from accel_launch.inspecting.snapshot import Subject
from accel_launch.running.onlookers.stall.verdict import Look, changes, key, moving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from accel_launch.inspecting.snapshot import RankStack
    from accel_launch.running.onlookers.stall.activity import Activity

BURST, PAUSE = 6, 0.03  # looks at a time at ranks that compute, and seconds between them
SEEN = 3  # looks at a rank by which it is judged, at least
PROBES = 4  # looks at one rank, each with another stack, that show that the run gets on; equal ones show nothing
MIXED, SHARE = 6, 0.6  # looks at it, with its most frequent stack in that share of them at most, that show the same
DOUBTFUL = 10  # looks after which all ranks are looked at, if its stack is nearly always the same


class Window:
    """What was seen since something last moved."""

    def __init__(self, looks: int) -> None:
        """Keep so many looks at each rank, or bursts of looks at those that compute."""
        self.most = looks * BURST
        self.looks: dict[int, list[Look]] = {}
        self.read: dict[int, tuple[str, RankStack]] = {}
        """What each rank's main thread had run when its stack was read last, and that stack; by pid."""
        self.turn = 0
        """How often something has moved: another rank is looked at first each time."""

    def clear(self) -> None:
        """Begin anew: something has moved."""
        self.looks.clear()
        self.read.clear()
        self.turn += 1

    def computes(self, living: Sequence[int], activity: Mapping[int, Activity], tick: float, *, shared: bool) -> bool:
        """Return whether all ranks compute, and one of them gets on: another one is looked at each ``tick``."""
        busy = [each for each in activity.values() if each.own or each.children]
        if not living or len(activity) < len(living) or len(busy) < len(activity):
            return False
        subject = Subject(0, 0, living[int(time.monotonic() / tick) % len(living)])
        looks: list[Look] = []
        while len(looks) < BURST:
            looks.append(_one(subject))
            # Ranks elsewhere may wait for one that goes round in a loop.
            if moving(looks, busy=shared) or (not shared and len(living) == 1 and looks[0].key != looks[-1].key):
                return True
        return False

    def look(self, ranks: Sequence[Subject], activity: Mapping[int, Activity]) -> bool:
        """Look at the ranks, several times at those that compute; return whether that alone shows that they move."""
        busy = {
            subject.pid for subject in ranks if (found := activity.get(subject.pid)) and (found.own or found.children)
        }
        probe = None if busy else self._probe(ranks)
        if probe is not None:
            ranks = [probe]
        for turn in range(BURST if busy else 1):
            looked_at = [subject for subject in ranks if turn == 0 or subject.pid in busy]
            for stack in self._stacks(looked_at):
                main = stack.process.main if stack.process is not None else None
                look = Look(stack, stack.pid in busy, key(stack), main is not None and main.gil)
                looks = self.looks.setdefault(stack.rank, [])
                looks.append(look)
                del looks[: -self.most]
            time.sleep(PAUSE if busy else 0)
        return probe is not None and self._gets_on(probe.rank)

    def is_enough(self, ranks: Sequence[Subject]) -> bool:
        """Return whether the run can be judged: each rank was seen often enough, or the only one seen gets on."""
        probe = self._probe(ranks)
        if probe is not None:
            looks = self.looks.get(probe.rank, ())
            return len(looks) > 1 and changes(looks)
        return all(len(self.looks.get(one.rank, ())) >= SEEN for one in ranks)

    def _stacks(self, ranks: Sequence[Subject]) -> list[RankStack]:
        """Return what ranks do; the stack is read only of those whose main thread has run since."""
        ran = {subject.pid: kernel.ran(subject.pid) for subject in ranks}
        found = {pid: self._kept(pid, text) for pid, text in ran.items()}
        for stack in snapshot.take([subject for subject in ranks if found[subject.pid] is None]).ranks:
            found[stack.pid] = stack
            if stack.process is not None and stack.process.threads:
                self.read[stack.pid] = ran[stack.pid], stack
        return [stack for stack in found.values() if stack is not None]

    def _kept(self, pid: int, ran: str) -> RankStack | None:
        before, stack = self.read.get(pid, ("", None))
        facts = kernel.facts(pid) if ran and ran == before else None
        if stack is None or stack.process is None or facts is None or facts.state in "ZX":
            return None
        return stack.replace(process=stack.process.replace(facts=facts))

    def _probe(self, ranks: Sequence[Subject]) -> Subject | None:
        """Return the one rank to look at, as long as its stack may change: the run gets on if it does."""
        probe = ranks[self.turn % len(ranks)]
        looks = self.looks.get(probe.rank, ())
        same = len(looks) >= PROBES and len({look.key for look in looks}) == 1
        doubtful = len(looks) >= DOUBTFUL and not changes(looks)
        return None if same or doubtful or set(self.looks) - {probe.rank} else probe

    def _gets_on(self, rank: int) -> bool:
        """Return whether the stack of the one rank that was looked at has changed often enough."""
        keys = [look.key for look in self.looks[rank]]
        most = keys.count(max(set(keys), key=keys.count))
        return (most == 1 and len(keys) == PROBES) or (len(keys) >= MIXED and most <= SHARE * len(keys))


def _one(subject: Subject) -> Look:
    stack = snapshot.take([subject]).ranks[0]
    time.sleep(PAUSE)
    return Look(stack, True, key(stack), False)
