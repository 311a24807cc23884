"""The latest looks at the stacks of ranks that are quiet: as few as show whether they move.

A main thread that hasn't run since it was looked at has the same stack, which isn't read again then.
"""

from __future__ import annotations

import time

from accel_launch.inspecting import kernel, snapshot
from accel_launch.inspecting.places import library, locate
from accel_launch.inspecting.subject import Subject
from accel_launch.running.onlookers.stall.activity import computing
from accel_launch.running.onlookers.stall.sweeping import glance
from accel_launch.running.onlookers.stall.verdict import DISTINCT, Look, arrived, key, kind, mixed, moving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from accel_launch.inspecting.snapshot import RankStack
    from accel_launch.running.onlookers.stall.activity import Activity

    Seen = tuple[RankStack, int | None, tuple[object, bool]]
    """A rank, what is equal for equal variables of it, and what computes beside its main thread."""

BURST, PAUSE = 6, 0.03  # looks at a time at ranks that compute, and seconds between them
SEEN = 3  # looks at a rank by which it is judged, at least
ROUNDS = 40  # the same, if they are of a loop: work of a few functions may have been seen in too few of them
DIFFERENT = 4  # first looks at a rank, each with another stack, that show that it gets on
MIXED = 6  # looks that show the same if no stack is much more frequent than the others
BUSY, LOCKED = 12, 0.25  # looks at one that computes, and the share of them with the interpreter's lock, that do so

EVENT_LOOP = "/asyncio/"
ASLEEP = ("all_", "barrier", "broadcast", "gather", "monitored_barrier", "recv", "reduce", "rpc.", "scatter", "send")
"""How such collectives are called; ``init_process_group`` and others wake up now and then, to ask torch's store."""


class Window:
    """What was seen since something last moved."""

    def __init__(self, looks: int) -> None:
        """Keep so many looks at each rank, or bursts of looks at those that compute."""
        self.most = looks * BURST
        self.looks: dict[int, list[Look]] = {}
        self.read: dict[int, tuple[str, RankStack]] = {}
        """What each rank's main thread had run when its stack was read last, and that stack; by pid."""
        self.began = 0.0
        """When the first of these looks was, in monotonic seconds; 0 before it."""

    def clear(self) -> None:
        """Begin anew: something has moved."""
        self.looks.clear()
        self.read.clear()
        self.began = 0.0

    def forget(self, before: float) -> None:
        """Forget earlier looks than that, but the last one at each rank."""
        self.began = max(self.began, before)
        for rank, looks in self.looks.items():
            self.looks[rank] = [look for look in looks if look.at >= before] or looks[-1:]

    def computes(self, living: Sequence[int], activity: Mapping[int, Activity], tick: float, *, shared: bool) -> bool:
        """Return whether all ranks compute, and one of them gets on: another one is looked at each ``tick``."""
        busy = [each for each in activity.values() if each.computes]
        if not living or len(activity) < len(living) or len(busy) < len(activity):
            return False
        subject = Subject(0, 0, living[int(time.monotonic() / tick) % len(living)])
        looks: list[Look] = []
        while len(looks) < BURST:
            looks.append(glance(subject, busy=True))
            time.sleep(PAUSE)
            # Ranks elsewhere may wait for one that goes round in a loop.
            if moving(looks, busy=shared) or (not shared and len(living) == 1 and looks[0].key != looks[-1].key):
                return True
        return False

    def know(self, before: Mapping[int, Look]) -> None:
        """Take what ranks were seen doing earlier."""
        for rank, look in before.items():
            self.looks.setdefault(rank, [look])

    def look(self, ranks: Sequence[Subject], activity: Mapping[int, Activity]) -> int | None:
        """Look at the ranks, several times at those that compute; return one that gets on, and with it the run."""
        self.began = self.began or time.monotonic()
        busy = computing(activity)
        looked_at: list[Subject] = list(ranks)
        for turn in range(BURST):
            for stack, state, beside in self._stacks(looked_at, activity, first=not turn):
                main = stack.process.main if stack.process is not None else None
                looks = self.looks.setdefault(stack.rank, [])
                gil = main is not None and main.gil
                looks.append(Look(stack, stack.pid in busy, key(stack), gil, time.monotonic(), state, *beside))
                del looks[: -self.most]
            looked_at = [one for one in looked_at if one.pid in busy and not (turn and self._waits(one.rank))]
            if not looked_at:
                break
            time.sleep(PAUSE)
        return next((rank for rank, looks in self.looks.items() if _gets_on(looks)), None)

    def _waits(self, rank: int) -> bool:
        return kind(self.looks[rank]) == "waiting"

    @property
    def arrived(self) -> float:
        """When the last rank was first seen where it is now; 0 if none was elsewhere before."""
        return max((arrived(looks) for looks in self.looks.values()), default=0.0)

    def settled(self, ranks: Collection[int]) -> float:
        """Return when the last of these was first seen where it is now; 0 if one of them goes on moving."""
        times = [arrived(self.looks[rank]) for rank in ranks]
        return max(times, default=0.0) if all(times) else 0.0

    def left(self, stacks: Sequence[RankStack]) -> bool:
        """Return whether a rank is at a line at which it was never seen, or has ended since the last look."""
        return any(stack.rank in self.looks and _left(self.looks[stack.rank], stack) for stack in stacks)

    def in_collective(self, rank: int) -> bool:
        """Return whether a rank was last seen within a collective in which it sleeps until that is done."""
        place = self.looks[rank][-1].stack.place if rank in self.looks else None
        if place is None or not (place.collective and place.certain and place.operations) or place.loop:
            return False
        return place.operations[-1].removeprefix("torch ").startswith(ASLEEP)

    def is_enough(self, ranks: Sequence[Subject]) -> bool:
        """Return whether the run can be judged: each rank was seen often enough."""
        seen = [self.looks.get(one.rank, []) for one in ranks]
        return all(
            len(looks) >= SEEN and (len(looks) >= ROUNDS or kind(looks) != "looping") and not _wakes(looks)
            for looks in seen
        )

    def _stacks(self, ranks: Sequence[Subject], activity: Mapping[int, Activity], *, first: bool) -> list[Seen]:
        """Return what ranks do, what is equal for equal variables (None if they weren't read), and see `_beside`.

        A stack is read only where the main thread has run since, or another one computes: with variables if the rank
        is where it was and doesn't compute, or computes, and this isn't the ``first`` look of several.
        """
        ran = {subject.pid: kernel.ran(subject.pid) for subject in ranks}
        kept = {pid: None if _others(pid, activity.get(pid)) else self._kept(pid, text) for pid, text in ran.items()}
        found: dict[int, Seen | None] = {
            pid: stack and (stack, None, _beside(stack, activity.get(pid))) for pid, stack in kept.items()
        }
        again = [subject for subject in ranks if kept[subject.pid] is None]
        busy = computing(activity)
        within = {one.pid for one in again if not first or (one.pid not in busy and self._remains(one.rank))}
        for variables in (False, True):
            some = [one for one in again if (one.pid in within) == variables]
            for whole in snapshot.take(some, variables=variables).ranks if some else ():
                stack, state = _bare(whole), _state(whole, every=whole.pid in busy) if variables else None
                found[whole.pid] = stack, state, _beside(whole, activity.get(whole.pid))
                if stack.process is not None and stack.process.threads:
                    self.read[stack.pid] = ran[stack.pid], stack
        return [seen for seen in found.values() if seen is not None]

    def _remains(self, rank: int) -> bool:
        """Return whether a rank was at the same place at the last two looks, and not in a collective."""
        last = [look.stack.place for look in self.looks.get(rank, ())][-2:]
        return len(last) > 1 and last[0] == last[1] and not last[0].collective

    def _kept(self, pid: int, ran: str) -> RankStack | None:
        before, stack = self.read.get(pid, ("", None))
        facts = kernel.facts(pid) if ran and ran == before else None
        if stack is None or stack.process is None or facts is None or facts.state in kernel.ENDED:
            return None
        return stack.replace(process=stack.process.replace(facts=facts))


def _wakes(looks: Sequence[Look]) -> bool:
    """Return whether a rank that hardly computes wakes up where it was, and whether it paces isn't known yet."""
    last = looks[-1]
    return last.state is not None and not last.busy and sum(look.state is not None for look in looks) < DISTINCT


def _left(looks: Sequence[Look], stack: RankStack) -> bool:
    if stack.process is None:
        return looks[-1].stack.process is not None
    places = {(look.stack.place.file, look.stack.place.line, look.stack.place.function) for look in looks}
    place = stack.place
    return bool(place.file) and (place.file, place.line, place.function) not in places and not looks[-1].busy


def _others(pid: int, activity: Activity | None) -> frozenset[int]:
    """Return the threads of a rank that compute, but the main one."""
    return activity.threads - {pid} if activity is not None else frozenset()


def _beside(stack: RankStack, activity: Activity | None) -> tuple[object, bool]:
    """Return what of a rank computes beside its main thread (None if nothing does), and whether without the lock.

    Threads without calls of Python are those of libraries that wait so, such as NCCL's.
    """
    if activity is None or stack.process is None:
        return None, False
    if activity.children:
        return "children", True
    for thread in stack.process.threads:
        if thread.frames and thread.id in _others(stack.pid, activity) and not locate(thread.frames).collective:
            return hash(thread.frames), not thread.gil
    return None, False


def _state(stack: RankStack, *, every: bool) -> int | None:
    """Return what is equal for equal variables of the main thread; None without a stack.

    Without ``every`` call, those of libraries don't count: who waits with a timeout again and again, as a data loader
    does, has another deadline each time. An event loop's do, as nothing else shows that it runs something.
    """
    main = stack.process.main if stack.process is not None else None
    if main is None:
        return None
    frames = [frame for frame in main.frames if every or not library(frame) or EVENT_LOOP in frame.file]
    return hash(tuple(frame.variables for frame in frames))


def _bare(stack: RankStack) -> RankStack:
    """Return a rank without the values of its variables."""
    process = stack.process
    if process is None or not any(frame.variables for thread in process.threads for frame in thread.frames):
        return stack
    bare = tuple(
        thread.replace(frames=tuple(frame.replace(variables=()) for frame in thread.frames))
        for thread in process.threads
    )
    return stack.replace(process=process.replace(threads=bare))


def _gets_on(looks: Sequence[Look]) -> bool:
    """Return whether the stacks of a rank have changed often enough, or it computes outside of the lock."""
    if looks[-1].busy:
        found = kind(looks) if len(looks) >= BUSY else ""
        return found == "moving" or (found == "computing" and sum(look.gil for look in looks) <= LOCKED * len(looks))
    different = len({look.key for look in looks}) == len(looks) == DIFFERENT
    return (different or (len(looks) >= MIXED and mixed(looks))) and kind(looks) != "waiting"
