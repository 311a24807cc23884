"""One attempt: a guardian from its fork until nothing is left of it, and what was observed meanwhile."""

from __future__ import annotations

import time

from accel_launch.machine.cgroup import memory_kills
from accel_launch.machine.clock import steady
from accel_launch.running.attempts.preparation import Preparation
from accel_launch.running.supervising.announcement import Announcement
from accel_launch.running.supervising.event_reader import EventReader
from accel_launch.running.supervising.stopping import Patience, Stopping

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable

    from accel_launch.planning.types import Plan
    from accel_launch.running.guardian.handle import GuardianHandle
    from accel_launch.running.guardian.orders import Orders
    from accel_launch.running.guardian.preloading.parked import Parked
    from accel_launch.running.onlookers.onlookers import Onlookers
    from accel_launch.running.onlookers.standstills import Standstills
    from accel_launch.running.output.router import OutputRouter
    from accel_launch.running.report.observation import Observation
    from accel_launch.running.report.records import Ending, Event, Result
    from accel_launch.running.restarting.progress import Progress
    from accel_launch.running.restarting.repetition import Repetition
    from accel_launch.running.supervising.signal_handling import SignalHandling


class Attempt:
    """One start of all ranks. What isn't its own is the run's: output, orders, signals, onlookers."""

    def __init__(
        self,
        plan: Plan,
        number: int,
        output: OutputRouter,
        orders: Orders,
        notify: Callable[[Event], object] | None,
    ) -> None:
        """Prepare it; nothing is started yet.

        Raises:
            OSError: the system has no more descriptors, or a log file can't be created.
        """
        self.plan, self.number, self.output = plan, number, output
        self.began, self.ended, self.kills = steady(), 0.0, memory_kills()
        self.repetition: Repetition | None = None
        """What it repeats of earlier attempts; None for the first one."""
        self.asked: float | None = None
        """When a lost reader, standing still or a dead guardian ended it, in seconds since the epoch."""
        self.dead_guardian: Ending | None = None
        """How the guardian ended, if it didn't finish its work."""
        self.standstills: Standstills | None = None
        """Its standstills, once somebody looks on."""
        self.listening = True
        """Whether the guardian is there."""
        self.preparation = Preparation(plan, output.begin(number), orders)
        self.record = self.preparation.record
        self.reader = EventReader(self.preparation.events, self.preparation.rank_of, notify, output.print)
        self.announcement = Announcement(plan, output.logs.path)
        self.stopping, self.patience = Stopping(orders), Patience(plan)

    def fork(
        self, guardian: GuardianHandle, signals: SignalHandling, parked: Parked | None, others: tuple[int, ...]
    ) -> None:
        """Start the guardian, from a ``parked`` process if there is one, without ``others`` of our descriptors.

        Raises:
            OSError: the system refuses a process.
        """
        work = self.preparation.workload(signals.ignored)
        guardian.fork(work, self.preparation, parked, others)
        if parked is not None and parked.dropped:
            self.reader.note(f"preload: {parked.dropped}, so the modules are imported again")
            parked.dropped = ""

    def pids(self) -> dict[int, int]:
        """Return the pid of each rank, by rank."""
        return self.record.pids if self.record is not None else self.reader.pids_by_rank

    def failed(self) -> bool:
        """Return whether a rank has failed."""
        return any(ending.failed for ending in self._endings()[-1])

    @property
    def stalled(self) -> bool:
        """Whether standing still has ended it."""
        return self.standstills is not None and self.standstills.ended_at is not None

    @property
    def lost(self) -> bool:
        """Whether a rank has failed or standing still has ended it: a signal comes too late to be what ends it."""
        return self.failed() or self.stalled

    def running(self) -> set[int]:
        """Return the ranks that have started, and haven't ended."""
        return {*self.pids()} - {ending.rank for ending in self._endings()[-1]}

    def started(self) -> bool:
        """Return whether an engine has started ranks here."""
        return self.record is not None and self.record.started

    def let_start(self) -> None:
        """Let the ranks of an engine start, which have waited for that."""
        self.preparation.let_start()

    def _endings(self) -> list[list[Ending]]:
        """Return how the ranks have ended so far; under an engine, those of each of its own attempts."""
        return self.record.attempts if self.record is not None else [self.reader.endings]

    def hear(self, poller: select.poll, guardian: GuardianHandle, onlookers: Onlookers) -> None:
        """Read the guardian's events; at their end collect the guardian, and kill what it left."""
        if self.reader.read():
            onlookers.changed()
            return
        poller.unregister(self.reader.fd)
        self.listening = False
        if not self.reader.done:
            self.asked = self.asked or time.time()
        onlookers.rest(poller)
        ending = guardian.collect(self.reader.guardian)
        self.dead_guardian = None if self.reader.done else ending
        self.ended = steady()
        self.output.channels.let_go()

    def judged(self, signals: SignalHandling, onlookers: Onlookers) -> Result:
        """Return the result that the run would have if it ended with this attempt."""
        from accel_launch.running.report.judging import judge

        return judge(self.plan, self.observed(signals, onlookers))

    def observed(self, signals: SignalHandling, onlookers: Onlookers) -> Observation:
        """Return what is known so far."""
        from accel_launch.running.report.observation import Observation

        *earlier, endings = self._endings()
        channels = self.output.channels
        return Observation(
            endings=tuple(endings),
            earlier=tuple(map(tuple, earlier)),
            engine=self.reader.endings[0] if self.plan.hosted and self.reader.endings else None,
            signalled=signals.ended_by,
            asked=min(filter(None, (signals.at, self.asked)), default=None),
            reader_gone=self.output.gone,
            guardian=self.dead_guardian,
            unstarted=tuple(self.reader.unstarted),
            notes=(*self.reader.notes, *channels.incomplete),
            output=channels.last_output,
            error=self.preparation.error,
            log=channels.log,
            killed_for_memory=memory_kills() > self.kills,
            unwritable=self.output.unwritable,
            printed=tuple(self.reader.printed),
            stalls=tuple(onlookers.standstills.found),
            stalled=self.stalled,
            standing=onlookers.standing,
            recorded=self.preparation.recorded,
            stacks=tuple(onlookers.showing.stacks),
            unended=self.record.unended if self.record is not None else (),
            began=self.began,
        )

    def progress(self) -> Progress | None:
        """Return how far it came, by what its ranks wrote; None if nothing shows it."""
        from accel_launch.running.restarting.progress import shown

        return shown(self.output.channels, self.preparation.progress)

    @property
    def due(self) -> float:
        """Seconds until the next look at how far it is; -1 if none follows."""
        return -1.0 if self.repetition is None else self.repetition.due

    def look(self) -> None:
        """Look how far it is if it is time to."""
        if self.repetition is not None:
            self.repetition.step()

    def close(self) -> None:
        """Let go of everything, once it is judged."""
        self.repetition = None  # which holds this attempt
        self.preparation.close()
