"""The lifeline as the supervisor sees it: whether to end the run here, and what failed first anywhere."""

from __future__ import annotations

import select
import time

from accel_config.errors import LATER
from accel_config.front import tell
from accel_launch.running.lifeline import failures
from accel_launch.running.lifeline.hub.hub import Hub
from accel_launch.running.lifeline.member.member import Member
from accel_launch.running.lifeline.waiting import Waiting, named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from accel_launch.planning.types import Plan
    from accel_launch.running.lifeline import Lifeline
    from accel_launch.running.lifeline.remote_failure import RemoteFailure
    from accel_launch.running.lifeline.secret import Secret
    from accel_launch.running.report.observation import Observation
    from accel_launch.running.report.records import Result
    from accel_launch.running.supervising.calling_process import CallingProcess

    class Ranks(Protocol):
        """The ranks of this machine: `accel_launch.running.attempts.attempt.Attempt`."""

        def started(self) -> bool:
            """Return whether ranks run here, so that all machines have met."""
            ...

        def let_start(self) -> None:
            """Let ranks start, as the machines have been compared."""
            ...


PATIENCE = 5.0  # seconds that a launcher waits for the others' reports beyond the time that they may take


class Watch:
    """One side of the lifeline, and what the supervisor has to know of it."""

    def __init__(
        self,
        plan: Plan,
        secret: Secret,
        host: str,
        observe: Callable[[], Observation],
        attempt: Ranks,
    ) -> None:
        """Open it; ``attempt`` knows the ranks here."""
        line = secret.line
        self.plan, self.line, self.observe, self.attempt, self.secret = plan, line, observe, attempt, secret
        self.side, self.free = _side(line, host, secret), False
        self.waiting: Waiting | None = Waiting(line)
        self.next = time.monotonic()
        self.calling: CallingProcess | None = None
        """Who is answered while the other machines' last word is awaited."""
        self.registered: tuple[int, ...] = ()
        """The descriptors that the supervisor waits for on our behalf."""
        self.failure: RemoteFailure | None = None
        """The first failure here that no restart repairs."""
        self.ended: float | None = None
        """When another machine ended the run, in seconds since the epoch."""
        self.late = ""
        """The message if not enough machines came in time."""

    @property
    def ending(self) -> bool:
        """Whether the run has to end here."""
        return self.side.ending or bool(self.late)

    @property
    def ends_by(self) -> str:
        """What ends the run, if no rank does: ``join_timeout`` or ``lost machine``; empty for anything else."""
        if self.late:
            return "join_timeout"
        return "lost machine" if self.side.lost else ""

    @property
    def due(self) -> float:
        """Seconds until the next heartbeat or try, a day at most: the kernel counts milliseconds in 31 bits."""
        return min(86400.0, max(0.0, self._turn - time.monotonic()))

    @property
    def _turn(self) -> float:
        """When something is due, by the monotonic clock."""
        side = self.side
        return min(self.next, side.connection.next) if isinstance(side, Member) and not side.done else self.next

    def step(self, poller: select.poll, ready: Sequence[tuple[int, int]]) -> None:
        """Do what is due."""
        for fd in self.registered:  # all of them still open: only this step closes any, and others may get the number
            poller.unregister(fd)
        self.side.handle(dict(ready))
        self._print_notes()
        if self.side.free and not self.free:
            self.free = True
            self.attempt.let_start()
        now = time.monotonic()
        if now >= self._turn:
            self.next = now + self.line.beat / 2
            self.failure = self.failure or (None if self.ending else failures.final(self.plan, self.observe()))
            if self.failure is not None and not self.side.ending:
                self.side.failed(self.failure)
            if self.line.together:
                self.side.ranks_ended(*failures.standstill(self.plan, self.observe()))
            self.side.tick()
            if self.side.ending and self.failure is None and self.ended is None:
                self.ended = time.time()
            if self.waiting is not None:
                self._wait(self.waiting)
        self.registered = self._register(poller)

    def _register(self, poller: select.poll) -> tuple[int, ...]:
        wanted = self.side.wants()
        for fd, events in wanted.items():
            poller.register(fd, events)
        return tuple(wanted)

    def _print_notes(self) -> None:
        """Print new notes at once: the run may go on for days."""
        notes = tuple(self.side.notes)
        self.side.notes.clear()
        if notes and self.waiting is not None:
            self.waiting.end()
        if not self.line.quiet:
            tell("accel: note", notes)

    def _wait(self, waiting: Waiting) -> None:
        missing, started = self.side.missing, self.attempt.started()
        if started or self.ending:
            waiting.end()
            self.waiting = None
            if started and isinstance(self.side, Member):
                self.side.started()
            return
        waiting.show(missing)
        if waiting.seconds > self.line.patience:
            waiting.end()
            self.late = f"{_late(self.line, missing)} within {self.line.patience:.0f} s (join_timeout)"

    def conclude(self, result: Result, calling: CallingProcess | None = None) -> Result:
        """End the lifeline with the run here; return the result in the light of what failed first anywhere.

        The ``calling`` process is answered meanwhile.
        """
        self.calling = calling
        if self.late:  # that ranks are killed for it is no news for the others
            result = result.replace(status=1, failure=None, problems=(self.late,))
        first = self._first(failures.of(self.line.machine, result))
        if isinstance(self.side, Hub):
            result = result.replace(differences=tuple(self.side.reception.comparison.found))
        refused = self.side.refused if isinstance(self.side, Member) else ""
        if self.late:
            return result
        if refused:
            problem = f"the main machine refused this one: {refused}"
            return result.replace(status=1, failure=None, problems=(problem,))
        if first is not None and first.unlike:
            return result.replace(status=1, failure=None, problems=(first.problem,))
        if first is None or first.machine == self.line.machine:
            failure = result.failure.replace(machine=self.line.machine) if result.failure is not None else None
            return result.replace(failure=failure)
        status = result.status if result.signal else first.status
        failure = None if first.status == LATER and first.rank is None else failures.shown(first)
        return result.replace(status=status, failure=failure, problems=())

    def _first(self, failure: RemoteFailure | None) -> RemoteFailure | None:
        """Report the end of the run here, by a failure or without; return what failed first anywhere."""
        if self.ended is not None and failure is not None and failure.at >= self.ended:
            failure = None  # it follows from the failure of another machine
        if self.waiting is not None:
            self.waiting.end()
        self.side.over(failure)
        until = time.monotonic() + self.line.silence + self.line.pause + PATIENCE
        while not self.side.settled and time.monotonic() < until:
            poller = select.poll()
            self._register(poller)
            if self.calling is not None:
                self.calling.register(poller)
            ready = poller.poll(self.due * 1000)
            self.side.handle(dict(ready))
            if self.calling is not None:
                self.calling.step(poller, ready)
            if not self.due:
                self.next = time.monotonic() + self.line.beat / 2
                self.side.tick()
        self.side.close()
        self.secret.remove()
        self._print_notes()
        return self.side.first or failure


def _side(line: Lifeline, host: str, secret: Secret) -> Hub | Member:
    if not line.main:
        return Member(line, host, secret.value, secret.find)
    hub = Hub(line, host, secret.value)
    hub.reception.entrance.file = secret.file
    if line.subject is not None and hub.reception.entrance.listeners:
        from accel_launch.running.lifeline.sameness.portrait import portrait

        hub.reception.comparison.own = {"clock": "0", **portrait(line.subject, secret.value)}
    if hub.reception.entrance.listeners and secret.value is None:
        hub.notes.append(
            f"the launchers have no secret: whoever reaches {line.meeting_place} can join this run or end it; "
            "give every machine --lifeline_secret_file FILE, or keep the port within your network"
        )
    return hub


def _late(line: Lifeline, missing: tuple[int, ...] | None) -> str:
    if missing:
        return f"{named(missing)} didn't come to {line.place}"
    return f"the machines didn't meet at {line.place}" if line.main else f"machine 0 wasn't found at {line.place}"
