"""The latest looks at the stacks of ranks that are quiet."""

from __future__ import annotations

import time

from accel_launch.inspecting import snapshot
from accel_launch.inspecting.snapshot import Subject
from accel_launch.running.onlookers.stall.verdict import Look, key, moving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from accel_launch.running.onlookers.stall.activity import Activity

BURST, PAUSE = 6, 0.03  # looks at a time at ranks that compute, and seconds between them
PROBES = 4  # looks at one rank, each with another stack, that show that the run gets on


class Window:
    """What was seen since something last moved."""

    def __init__(self, looks: int) -> None:
        """Keep so many looks at each rank, or bursts of looks at those that compute."""
        self.most = looks * BURST
        self.looks: dict[int, list[Look]] = {}
        self.turn = 0
        """How often something has moved: another rank is looked at first each time."""

    def clear(self) -> None:
        """Begin anew: something has moved."""
        self.looks.clear()
        self.turn += 1

    def computes(self, living: Sequence[int], activity: Mapping[int, Activity], tick: float, *, shared: bool) -> bool:
        """Return whether all ranks compute, and one of them gets on: another one is looked at each ``tick``."""
        busy = [each for each in activity.values() if each.own or each.children]
        if not living or len(activity) < len(living) or len(busy) < len(activity):
            return False
        subject = Subject(0, 0, living[int(time.monotonic() / tick) % len(living)])
        looks = [_one(subject) for _ in range(BURST)]
        if shared:  # ranks elsewhere may wait for one that goes round in a loop
            return moving(looks, busy=True)
        return moving(looks, busy=False) or (len({look.key for look in looks}) > 1 and len(living) == 1)

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
            for stack in snapshot.take(looked_at).ranks:
                main = stack.process.main if stack.process is not None else None
                look = Look(stack, stack.pid in busy, key(stack), main is not None and main.gil)
                looks = self.looks.setdefault(stack.rank, [])
                looks.append(look)
                del looks[: -self.most]
            time.sleep(PAUSE if busy else 0)
        return probe is not None and len(self.looks[probe.rank]) == PROBES and self._probe(ranks) is not None

    def _probe(self, ranks: Sequence[Subject]) -> Subject | None:
        """Return the one rank to look at, as long as its stack is another each time: the run gets on then."""
        probe = ranks[self.turn % len(ranks)]
        keys = [look.key for look in self.looks.get(probe.rank, ())]
        return probe if not set(self.looks) - {probe.rank} and len(set(keys)) == len(keys) else None


def _one(subject: Subject) -> Look:
    stack = snapshot.take([subject]).ranks[0]
    time.sleep(PAUSE)
    return Look(stack, True, key(stack), False)
