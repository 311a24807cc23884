"""Whether the processes of a rank do anything: CPU time by thread, bytes read, written, sent and received."""

from __future__ import annotations

import time

from accel_config.record import Record
from accel_launch.inspecting import kernel
from accel_launch.ranks.system import calls
from accel_launch.running.onlookers.stall import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from accel_launch.running.onlookers.stall.sockets import Connection

BUSY = 0.2  # share of a core from which a thread computes; threads that look after something stay below
CROWD = 20  # times as long as it runs a thread that computes may wait for a core; one that only wakes waits longer
BYTES = 8192  # a second: less is what monitors and heartbeats exchange
MESSAGE = 64  # bytes between two ranks: gloo's smallest have more, with their header; less is a sign of life
LEAST, SHARE = 4.0, 0.25  # seconds, and share of the time looked for, over which that is taken: bytes come in bursts
AGAIN = 6  # looks at what is read and written for each in which the processes below a rank are listed anew
ROUNDED = 2 / calls.TICK  # what a process may have used without its whole CPU time showing it


class Counters(Record):
    """What one rank's processes have used so far."""

    at: float
    """Monotonic seconds."""
    threads: dict[int, tuple[float, float]]
    """Seconds of CPU that each thread of the rank itself has used, and those that it has waited for a core."""
    children: dict[int, tuple[float, float]]
    """The same of each process below it."""
    own: float
    """Seconds of CPU of the rank itself, rounded; also of threads that have ended."""
    whole: float
    """Those of all its processes, also of children that have ended."""


class Activity(Record):
    """What one rank has done between two looks."""

    own: bool
    """Whether a thread of the rank itself computes."""
    children: bool
    """Whether a process below it computes."""
    threads: frozenset[int] = frozenset()
    """Its threads that compute."""

    @property
    def computes(self) -> bool:
        """Whether any of them does."""
        return self.own or self.children


IDLE = Activity(own=False, children=False)


def computing(activity: Mapping[int, Activity]) -> set[int]:
    """Return the ranks that compute, by pid."""
    return {pid for pid, found in activity.items() if found.computes}


class Meter:
    """Reads counters of ranks, and compares them with those of the look before."""

    def __init__(self, after: float, store: int = 0) -> None:
        """Start without any; standing still of ``after`` seconds is looked for. ``store`` is the port of torch's."""
        self.least, self.store = min(LEAST, SHARE * after), store
        self.before: dict[int, Counters] = {}
        self.read_at = 0.0
        """When the counters were last read or found to have hardly grown, by the monotonic clock."""
        self.below: dict[int, list[int]] = {}
        self.turn = 0
        self.transferred: dict[int, tuple[float, int]] = {}
        """From when on bytes of each rank are counted, and what it had read and written by then."""
        self.mover = 0
        """The rank that had read or written the last time."""
        self.exchanged: dict[int, Connection] = {}
        self.exchanged_at = time.monotonic()
        """When connections were looked at last."""
        self.octets: int = -1
        """What all together had sent and received by then."""
        self.counted: dict[int, Connection] = {}
        """What had passed over each connection when bytes began to be counted, at `counted_at`."""
        self.counted_at = 0.0

    def read(self, pids: Sequence[int]) -> dict[int, Activity]:
        """Return what each rank has done since the last look; nothing for ranks that are looked at first."""
        found: dict[int, Activity] = {}
        seconds, self.read_at = time.monotonic() - self.read_at, time.monotonic()
        for pid in pids:
            below, before = self._below(pid), self.before.get(pid)
            # All threads together have used less than one needs that computes: they needn't be read each.
            if before is not None and set(below) <= set(before.children):
                most = _whole([pid, *below]) - before.whole + ROUNDED * (1 + len(below))
                if most * (1 + CROWD) < BUSY * seconds:
                    found[pid] = IDLE
                    continue
            now = _counters(pid, below)
            if before is not None and now.at > before.at:
                found[pid] = _between(before, now)
            self.before[pid] = now
        return found

    def _below(self, pid: int) -> list[int]:
        """Return the processes below a rank, as they were listed last."""
        if pid not in self.below:
            self.below[pid] = kernel.children(pid)
        return self.below[pid]

    def transfers(self, pids: Sequence[int]) -> bool:
        """Return whether a rank has read or written since this was last asked: far cheaper than to `read` it all."""
        self.turn += 1
        if not self.turn % AGAIN:
            self.below.clear()
        # One that has is enough, and most probably it is the one that had the last time.
        for pid in sorted(pids, key=self.mover.__ne__):
            now, count = time.monotonic(), sum(kernel.transferred(each) for each in (pid, *self._below(pid)))
            at, before = self.transferred.setdefault(pid, (now, count))
            moved = count - before > BYTES * max(now - at, self.least)
            if moved or now - at >= self.least:
                self.transferred[pid] = now, count
            if moved:
                self.mover = pid
                return True
        return False

    def exchanges(self, pids: Sequence[int], since: float = 0.0) -> bool:
        """Return whether ranks' connections have sent or received data since this was last asked.

        If that was before ``since``, it isn't known whether they have done so after that.
        Between two ranks a message counts, as collectives may be small, and nothing is sent while one is waited for;
        only at torch's store ranks ask again and again. Over other connections it is as much as counts in files.
        """
        now, octets, before = time.monotonic(), sockets.octets(), self.exchanged
        known, self.exchanged_at = self.exchanged_at >= since, now
        passed = octets < 0 or octets != self.octets
        if passed:
            self.octets, self.exchanged = octets, sockets.connections()
        seconds = now - self.counted_at
        moved = known and passed and self._exchanged(pids, before, BYTES * max(seconds, self.least))
        if moved or not known or seconds >= self.least:
            self.counted_at, self.counted = now, self.exchanged
        elif passed:
            self.counted = {**self.exchanged, **self.counted}  # with those that are new
        return moved

    def _exchanged(self, pids: Sequence[int], before: Mapping[int, Connection], least: float) -> bool:
        """Return whether a message between ranks has passed since ``before``, or more bytes than ``least`` by now."""
        grown = _more(self.exchanged, before, MESSAGE)
        large = set(_more(self.exchanged, self.counted, least))
        ends = {(each.here, each.there): inode for inode, each in grown.items() if self.store not in each.ports}
        pairs = [
            (inode, ends[each.there, each.here]) for inode, each in grown.items() if (each.there, each.here) in ends
        ]
        if not (large or pairs):
            return False
        owners = {inode: pid for pid in pids for one in (pid, *self._below(pid)) for inode in sockets.inodes(one)}
        return not large.isdisjoint(owners) or any(
            one in owners and other in owners and owners[one] != owners[other] for one, other in pairs
        )


class Wakes:
    """When the main threads of ranks have run, to a look at the counters."""

    def __init__(self) -> None:
        """Know nothing."""
        self.seen: dict[int, tuple[str, float]] = {}
        """What changes whenever a rank's main thread runs, and when it had, in monotonic seconds; by pid."""
        self.new: set[int] = set()
        """Ranks that haven't run since they were looked at first, so that it isn't known when they had."""
        self.read_at = 1.0
        """When they were looked at last."""

    def read(self, pids: Sequence[int], now: float, disturbed: float = 0.0) -> None:
        """Look at all ranks, which ran without having got on when they were last ``disturbed`` by being looked at."""
        excused, self.read_at = disturbed >= self.read_at, now
        for pid in pids:
            ran, before = kernel.ran(pid), self.seen.get(pid)
            if before is None:
                self.new.add(pid)
            elif excused and ran:
                self.seen[pid] = ran, before[1]
                continue
            elif ran != before[0]:
                self.new.discard(pid)
            elif ran:  # the kernel tells it, and it hasn't
                continue
            self.seen[pid] = ran, now

    def since(self, pids: Sequence[int], at: float) -> set[int]:
        """Return the ranks that have run since."""
        return {pid for pid in pids if self.seen[pid][1] > at}

    def last(self, pids: Sequence[int], before: float) -> float:
        """Return when a rank has run last of those that haven't run since ``before``; 0 if that isn't known."""
        times = [self.seen[pid][1] for pid in pids if pid in self.seen and pid not in self.new]
        return max((at for at in times if at < before), default=0.0)


def _more(latest: Mapping[int, Connection], before: Mapping[int, Connection], least: float) -> dict[int, Connection]:
    """Return the connections over which so many bytes have passed since."""
    return {
        inode: each for inode, each in latest.items() if inode in before and each.count - before[inode].count >= least
    }


def _counters(pid: int, below: Sequence[int]) -> Counters:
    cpu = {child: _sum(kernel.demand(child)) for child in below}
    return Counters(time.monotonic(), kernel.demand(pid), cpu, kernel.used(pid)[0], _whole([pid, *below]))


def _whole(pids: Sequence[int]) -> float:
    """Return the seconds of CPU of whole processes, and of children of theirs that have ended."""
    return sum(map(sum, map(kernel.used, pids)))


def _sum(threads: Mapping[int, tuple[float, float]]) -> tuple[float, float]:
    return sum(used for used, _waited in threads.values()), sum(waited for _used, waited in threads.values())


def _between(before: Counters, now: Counters) -> Activity:
    seconds = now.at - before.at
    own = {name: _grown(counted, before.threads.get(name)) for name, counted in now.threads.items()}
    below = {name: _grown(counted, before.children.get(name)) for name, counted in now.children.items()}
    # What threads and children have used that came or went in between: their counters are gone, their sums are not.
    brief = now.own - before.own - sum(_used(now.threads, before.threads).values())
    short = now.whole - now.own - before.whole + before.own - sum(_used(now.children, before.children).values())
    return Activity(
        own=max(*own.values(), brief - ROUNDED * (1 + len(own)), 0.0) > BUSY * seconds,
        children=max(*below.values(), short - ROUNDED * (1 + len(below)), 0.0) > BUSY * seconds,
        threads=frozenset(name for name, grown in own.items() if grown > BUSY * seconds),
    )


def _used(now: Mapping[int, tuple[float, float]], before: Mapping[int, tuple[float, float]]) -> dict[int, float]:
    """Return the seconds of CPU of those that were there before."""
    return {name: used - before[name][0] for name, (used, _waited) in now.items() if name in before}


def _grown(now: tuple[float, float], before: tuple[float, float] | None) -> float:
    """Return how long a thread was running, or would have been if there were enough cores."""
    if before is None:
        return 0.0
    used, waited = now[0] - before[0], now[1] - before[1]
    return used + min(waited, CROWD * used)
