"""Many looks in two seconds at one rank that is quiet: they show cheaply that it gets on, and with it the run."""

from __future__ import annotations

from accel_launch.inspecting import kernel, sampling
from accel_launch.inspecting.places import locate
from accel_launch.inspecting.sampling import Thread
from accel_launch.inspecting.snapshot import Process, RankStack
from accel_launch.running.onlookers.stall.verdict import Look, changes, key, kind, mixed, moving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from accel_launch.inspecting.subject import Subject
    from accel_launch.running.onlookers.stall.activity import Activity

LOOKS, BUSY = 5, 10  # a second, at a rank that doesn't compute, and at one that does
LEAST = 6  # looks that show anything
LOCKED = 0.1  # share of the looks with the interpreter's lock, at most, if a rank computes outside of it


class Sweeps:
    """Those since something last moved."""

    def __init__(self, *, shared: bool) -> None:
        """Begin; ``shared`` is whether the run has ranks elsewhere, which may wait for one that loops."""
        self.shared = shared
        self.ran: dict[int, str] = {}
        """What each rank's main thread had run at the last look; by pid."""
        self.tried: set[int] = set()
        """The ranks that were looked at in vain."""
        self.first = 0
        """The rank to begin with: the one that has shown last that the run gets on."""
        self.shown = False
        """Whether the last time one has shown that."""

    def running(self, ranks: Sequence[Subject], activity: Mapping[int, Activity]) -> set[int]:
        """Return the pids of ranks that compute, or whose main thread has run since this was last asked."""
        before, self.ran = self.ran, {one.pid: kernel.ran(one.pid) for one in ranks if not one.ended}
        return _busy(activity) | {pid for pid, ran in self.ran.items() if not ran or ran != before.get(pid)}

    def show(self, ranks: Sequence[Subject], running: Collection[int], activity: Mapping[int, Activity]) -> bool:
        """Look at one more of the ranks that are ``running``; return whether it gets on."""
        busy = _busy(activity)
        may = [one for one in ranks if one.pid in running and one.rank not in self.tried]
        if not may:
            return False
        chosen = next((one for one in may if one.rank >= self.first), may[0])
        self.first = chosen.rank
        self.tried.add(chosen.rank)
        everywhere = not self.shared and self.ran.keys() <= busy
        self.shown = gets_on(chosen, busy=chosen.pid in busy, everywhere=everywhere)
        return self.shown


def _busy(activity: Mapping[int, Activity]) -> set[int]:
    return {pid for pid, found in activity.items() if found.own or found.children}


def gets_on(subject: Subject, *, busy: bool, everywhere: bool) -> bool:
    """Look at a rank for two seconds; return whether it gets on.

    Args:
        subject: The rank.
        busy: Whether it computes.
        everywhere: Whether all ranks do, so that none waits for one that goes round in a loop.
    """
    looks = _looks(subject, BUSY if busy else LOOKS, busy=busy)
    if len(looks) < LEAST or kind(looks) in {"waiting", "paused", "stopped"}:
        return False
    if not busy:
        return mixed(looks)
    if moving(looks, busy=True) or (everywhere and changes(looks)):
        return True
    locked = sampling.sweep(subject.pid, BUSY, locked=True)
    return locked is not None and len(locked) <= LOCKED * len(looks)


def _looks(subject: Subject, rate: int, *, busy: bool) -> list[Look]:
    facts = kernel.facts(subject.pid)
    if facts is None:
        return []
    found: list[Look] = []
    for frames in sampling.sweep(subject.pid, rate) or ():
        process = Process(facts, (Thread(subject.pid, "", True, False, frames),))
        stack = RankStack(subject.rank, subject.local_rank, subject.pid, process, locate(frames))
        found.append(Look(stack, busy, key(stack), False))
    return found
