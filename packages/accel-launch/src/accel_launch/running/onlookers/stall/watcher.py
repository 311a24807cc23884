"""The process that watches a run for standing still. The launcher forks it once the run has been quiet for a while.

It is a process of its own because a look into ``/proc`` can block for as long as the process looked at is blocked.
Nothing waits for it. It ends with the launcher.
"""

from __future__ import annotations

import os
import select
import time

from accel_launch.inspecting import groups, kernel, snapshot
from accel_launch.inspecting.report import as_json, within
from accel_launch.inspecting.threads import NO_PYTHON
from accel_launch.running.onlookers.forking import launcher_stopped
from accel_launch.running.onlookers.stall.activity import Meter, Wakes, computing
from accel_launch.running.onlookers.stall.pacing import LOOKS, SPARSE, Pace
from accel_launch.running.onlookers.stall.subjects import decoded, prompting, recorded
from accel_launch.running.onlookers.stall.sweeping import Sweeps
from accel_launch.running.onlookers.stall.telling import Stall, encode, slow
from accel_launch.running.onlookers.stall.verdict import STANDING, judge
from accel_launch.running.onlookers.stall.window import PAUSE, Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Any

    from accel_launch.inspecting.snapshot import Snapshot
    from accel_launch.inspecting.subject import Subject
    from accel_launch.running.engine_record import EngineRecord
    from accel_launch.running.onlookers.stall.activity import Activity
    from accel_launch.running.onlookers.stall.verdict import Verdict

STEP = 3.5  # usual gaps between two looks: after so many at the latest it is seen that a rank ran when it moved
MISSED = 3.0  # times the usual gap between two looks: the machine slept, or the run was stopped
AGAIN = 3  # looks at ranks that are to be told, if one isn't where it was
REST, LOOK = 5.0, 120.0  # seconds that a pause may last longer, and a look at many ranks on a busy machine may take


class Watcher:
    """Looks at ranks until the launcher ends it."""

    def __init__(  # noqa: PLR0913
        self,
        after: float,
        subjects: Sequence[Subject],
        record: EngineRecord | None,
        last_output: Callable[[], float],
        report: Callable[[bytes], object],
        *,
        shared: bool = False,
        disturbed: Callable[[], float] = float,
        store: int = 0,
    ) -> None:
        """Watch for standing still of ``after`` seconds.

        Args:
            after: Seconds.
            subjects: The ranks as they are now; `run` is told how they change.
            record: The record from which an engine's ranks are read instead.
            last_output: Returns when a rank printed something, in monotonic seconds.
            report: Takes what there is to tell, a line of JSON.
            shared: Whether the run has ranks elsewhere, so that it is decided elsewhere whether it stands still.
            disturbed: Returns when ranks were last stopped for a moment, to be looked at.
            store: The port of torch's store, at which ranks ask again and again.
        """
        self.subjects, self.record = subjects, record
        self.last_output, self.report, self.shared, self.disturbed = last_output, report, shared, disturbed
        self.keep: Callable[[Stall, Mapping[str, Any]], str] | None = None
        """Writes the stacks of a standstill, if that is asked for, and returns what to tell about that."""
        self.unread = b""
        self.known: list[tuple[int, bool]] | None = None
        """The ranks at the last look, and whether each had ended."""
        self.activity: dict[int, Activity] = {}
        self.meter, self.wakes = Meter(after, store), Wakes()
        self.window, self.sweeps = Window(LOOKS), Sweeps(shared=shared)
        self.pace = Pace(after, last_output() or time.monotonic(), self.sweeps)
        self.paused: tuple[int, ...] = ()
        self.away: Callable[[float], object] = float
        """Takes by when we want to be back from what we do next, in monotonic seconds."""
        self.moves: Callable[[float], object] = float
        """Takes when something has moved last."""

    def run(self, updates: int) -> None:
        """Watch until the end of ``updates``, from which it learns of ranks that start and end."""
        poller = select.poll()
        poller.register(updates, select.POLLIN)
        while True:
            before, pause = time.monotonic(), self.pace.pause
            self.away(before + pause + REST)
            told = poller.poll(pause * 1000)
            now = time.monotonic()
            self.away(now + LOOK)
            if told and not self._update(updates):
                return
            if now - before > MISSED * pause + 1 or launcher_stopped():
                self.move(now, seen=False)
            self.step()
            self.moves(self.pace.moved)

    def _update(self, updates: int) -> bool:
        """Read which ranks there are, or the number of a question; return False at the end of file."""
        data = os.read(updates, 1 << 20)
        *lines, self.unread = (self.unread + data).split(b"\n")
        for found in map(decoded, lines):
            if isinstance(found, int):
                self._answer(found)
            else:
                self.subjects = found
        return bool(data)

    def _answer(self, number: int) -> None:
        """Report what the ranks do, unless something moves."""
        ranks = self._ranks()
        if not self.pace.told:
            return
        self.window.look(ranks, self.activity)
        verdict = judge(self.window.looks)
        if not verdict.idle:
            self.move(time.monotonic())
            return
        latest = snapshot.take(ranks, children=self.keep is not None, workers=True)
        if self.window.left(latest.ranks):
            self.move(time.monotonic())
            return
        stall = _stall(self, latest, verdict)
        processes = [[subject.rank, subject.local_rank, subject.pid] for subject in ranks]
        told = {"stall": stall.as_json(), "processes": processes, "moved": self.pace.moved}
        self.report(encode("answer", number=number, **told))
        self.keep_stacks(stall, latest)

    def _ranks(self) -> list[Subject]:
        found = self.subjects if self.record is None else recorded(self.record)
        return [subject for subject in found if subject.pid]

    def step(self) -> None:
        """Look once."""
        ranks = self._ranks()
        living = [subject.pid for subject in ranks if not subject.ended]
        now, output = time.monotonic(), self.last_output()
        transfers = self.meter.transfers(living)
        self.wakes.read(living, now, self.disturbed())
        known = [(subject.pid, bool(subject.ended)) for subject in ranks]
        if output > self.pace.moved:
            self.move(output)
        ended = not (living or (self.shared and ranks))
        if self.known not in (None, known) or ended or transfers:
            self.move(now)
        self.known = known
        if self.pace.calm <= 0 and self.pace.due <= now:
            self._look(ranks, living, now)

    def _look(self, ranks: Sequence[Subject], living: Sequence[int], now: float) -> None:
        """Look at CPU time and, once the run has been quiet for long enough, at connections and stacks."""
        pace, looked = self.pace, self.pace.looked
        self.activity, pace.looked = self.meter.read(living), now
        running = computing(self.activity) | self.wakes.since(living, looked)
        pace.idle, exchanges = not running, self.meter.exchanges(living, pace.moved)
        if pace.quiet < pace.begins:
            return
        if exchanges:
            self.move(now)
        elif _gets_on(self, ranks, running):
            self.move(time.monotonic())
        elif pace.quiet >= pace.ends and self.window.is_enough(ranks):
            self._decide(ranks)

    def move(self, at: float, *, seen: bool = True, doubted: float = 0.0) -> None:
        """Something has moved; it wasn't ``seen`` if the time before just doesn't count, or that is ``doubted``."""
        if self.pace.told:
            self.report(encode("moves", seconds=at - self.pace.moved, seen=seen))
        self.pace.begin_anew(at, doubted)
        self.paused = ()
        self.window.clear()
        self.sweeps.clear()

    def _decide(self, ranks: Sequence[Subject]) -> None:
        verdict = judge(self.window.looks)
        if verdict.idle and not self.pace.told and _stepped(self, ranks):
            return
        paused = verdict.paused or (prompting(ranks) if verdict.idle else ())
        if paused:
            if paused != self.paused:
                self.report(encode("paused", ranks=paused))
            self.paused = paused
        elif self.paused:  # whoever has looked at a rank needs time to let it go on
            self.move(time.monotonic(), seen=False)
        elif self.shared and verdict.idle:
            self.pace.told += 1
            self.report(encode("still", seconds=time.monotonic() - self.pace.moved, moved=self.pace.moved))
        elif verdict.stalled and not self.shared:
            _tell(self, ranks, verdict)
        else:
            _follow(self, ranks, next(iter(verdict.moving), None))
            self.move(self.window.settled(verdict.moving) or time.monotonic(), doubted=_doubted(self, verdict))

    def keep_stacks(self, stall: Stall, latest: Snapshot) -> None:
        """Write whole stacks once the standstill is told: the disk may be what all wait for."""
        if self.keep is not None:
            self.report(encode("line", text=self.keep(stall, as_json(latest))))


def _tell(watcher: Watcher, ranks: Sequence[Subject], verdict: Verdict) -> None:
    if (latest := _latest(watcher, ranks)) is None:
        return watcher.move(time.monotonic())
    watcher.pace.told += 1
    stall = _stall(watcher, latest, verdict)
    watcher.report(encode("stall", stall=stall.as_json(), stacks=within(as_json(latest)), moved=watcher.pace.moved))
    return watcher.keep_stacks(stall, latest)


def _latest(watcher: Watcher, ranks: Sequence[Subject]) -> Snapshot | None:
    """Return what is to be told of ranks that stand still; None if one isn't where it was, and doesn't come back."""
    for _ in range(AGAIN):
        found = snapshot.take(ranks, children=True)
        if _unread(watcher, found):  # a sampler may have been late
            found = snapshot.take(ranks, children=True)
        if not watcher.window.left(found.ranks):
            return found
        time.sleep(PAUSE)
    return None


def _stall(watcher: Watcher, latest: Snapshot, verdict: Verdict) -> Stall:
    """Return what there is to tell."""
    stacks = [stack.replace(place=verdict.places.get(stack.rank, stack.place)) for stack in latest.ranks]
    now = time.time()
    return Stall(
        at=now,
        since=watcher.pace.since(now),
        ranks=tuple(stack.rank for stack in latest.ranks),
        groups=groups.grouped(stacks),
        kinds=verdict.kinds,
        odd=verdict.odd,
        unread=_unread(watcher, latest),
    )


def _unread(watcher: Watcher, latest: Snapshot) -> str:
    """Return why the stack of a rank that runs now and then, or may read and write, can't be read: it may get on."""
    unread = [one for one in latest.ranks if one.process is not None and one.process.unread]
    runs = watcher.wakes.since([one.pid for one in unread], watcher.window.began)
    runs |= {one.pid for one in unread if not kernel.again(f"/proc/{one.pid}/io")}
    reasons = {one.process.unread: None for one in unread if one.process is not None and one.pid in runs}
    return next((reason for reason in reasons if reason != NO_PYTHON), "")


def _gets_on(watcher: Watcher, ranks: Sequence[Subject], running: Collection[int]) -> bool:
    """Look at stacks; return whether they show that the run gets on."""
    if watcher.pace.one_by_one:
        return watcher.sweeps.show(ranks, running, watcher.activity)
    if watcher.pace.waits:
        return False
    living = [subject.pid for subject in ranks if not subject.ended]
    if watcher.window.computes(living, watcher.activity, watcher.pace.tick, shared=watcher.shared):
        return True
    watcher.window.know(watcher.sweeps.before)
    found = watcher.window.look(ranks, watcher.activity)
    _follow(watcher, ranks, found)
    return found is not None


def _follow(watcher: Watcher, ranks: Sequence[Subject], found: int | None) -> None:
    """Remember that looks at all ranks were needed to see that this one gets on."""
    for subject in ranks:
        if subject.rank == found and not watcher.pace.short:
            watcher.sweeps.follow(subject, watcher.activity)


def _stepped(watcher: Watcher, ranks: Sequence[Subject]) -> bool:
    """Return whether a rank has got on while it wasn't looked at, or between looks, and stands since then.

    Before the first look that is a main thread that ran, and never since. One that only wakes up now and then is
    at the same place afterwards: so from here on all ranks are looked at, and the time counts from that moment.
    Who waits in a collective doesn't wake up before it is done: such a rank is back in it, or in the next one.
    """
    living = [subject.pid for subject in ranks if not subject.ended]
    asleep = [subject.pid for subject in ranks if watcher.window.in_collective(subject.rank)]
    at = max(
        watcher.wakes.last(living, watcher.window.began),
        watcher.wakes.last(asleep, watcher.pace.looked - SPARSE * watcher.pace.tick),
        watcher.window.arrived,
    )
    if at <= watcher.pace.moved + STEP * watcher.pace.tick:
        return False
    watcher.pace.moved, watcher.pace.near, watcher.pace.doubted = at, True, 0.0
    watcher.window.forget(at)
    return True


def _doubted(watcher: Watcher, verdict: Verdict) -> float:
    """Return since when a rank may get on while all others stand; 0 if that isn't so. If it is long, say so once."""
    stands = watcher.shared or not STANDING.isdisjoint(verdict.kinds.values())
    doubted = watcher.pace.doubts(doubtful=verdict.doubtful and stands)
    if watcher.pace.lasts(doubted):
        watcher.report(encode("line", text=slow(verdict, time.monotonic() - doubted)))
    return doubted
