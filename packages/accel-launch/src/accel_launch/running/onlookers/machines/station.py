"""This launcher's part in a run with ranks elsewhere: the main machine's, another's, or one without a lifeline."""

from __future__ import annotations

import itertools
import os
import time

from accel_launch.running.lifeline.hub.questions import Standing
from accel_launch.running.lifeline.messages import GROUP_TEXT, clean
from accel_launch.running.onlookers.machines import merging
from accel_launch.running.onlookers.machines.parts import as_message, from_message, parts_of
from accel_launch.running.onlookers.machines.whole_run import WholeRun
from accel_launch.running.onlookers.stall.telling import Stall

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from accel_launch.inspecting.subject import Subject
    from accel_launch.running.lifeline.hub.hub import Hub
    from accel_launch.running.lifeline.member.member import Member
    from accel_launch.running.lifeline.watch import Watch
    from accel_launch.running.onlookers.machines.another import Another
    from accel_launch.running.onlookers.machines.gathering import Gathering, Round
    from accel_launch.running.onlookers.stall.moments import Audience

UNKNOWN = "ranks of other launchers: no lifeline connects them"
LONGEST = 12000  # bytes of a standstill's groups, in a message


class Station:
    """Passes on what is found here and elsewhere."""

    def __init__(
        self,
        after: float,
        subjects: Callable[[], Sequence[Subject]],
        audience: Audience,
    ) -> None:
        """Prepare, without connections to other launchers.

        Args:
            after: Seconds without progress after which standing still is told.
            subjects: Returns the ranks here.
            audience: Who is told of standstills of the whole run, and whether the main machine has decided that it
                ends the run.
        """
        self.after, self.subjects, self.audience = after, subjects, audience
        self.host = os.uname().nodename
        self.ask: Callable[[int], None] = lambda _number: None
        """Asks the watcher here what the ranks do."""
        self.numbers = itertools.count(1)
        self.another: Another | None = None
        self.hub: Hub | None = None
        self.machine = 0
        self.whole: WholeRun | None = None
        self.gathering: Gathering | None = None

    def join(self, watch: Watch | None) -> None:
        """Take the lifeline, or that there is none."""
        from accel_launch.running.lifeline.member.member import Member

        side = watch.side if watch is not None else None
        if watch is not None:
            self.machine = watch.line.machine
        if isinstance(side, Member):
            from accel_launch.running.onlookers.machines.another import Another

            self.another = Another(side, self.subjects, self._ask_here, self.audience.stalled, self.audience.tell)
        elif side is not None and side.reception.entrance.listeners:
            from accel_launch.running.onlookers.machines.gathering import Gathering

            self.hub, side.reception.questions.take = side, self._from_member
            self.gathering = Gathering(self.numbers, side.reception.questions)
        own = (self.machine, self.host if watch is not None else "")
        self.whole = WholeRun(self.after, own, self._others, self._ask, self._tell, self.audience.moves, self.numbers)

    @property
    def elsewhere(self) -> str:
        """Which launcher can show the ranks of all machines; empty if it is this one, or none."""
        return self.another.main if self.another is not None else ""

    @property
    def due(self) -> float | None:
        """Seconds until there is something to do again; None if there isn't."""
        worker = self.another.worker if self.another is not None else None
        all_due = [part.due for part in (self.whole, worker, self.gathering) if part is not None]
        return min((each for each in all_due if each is not None), default=None)

    def step(self, poller: select.poll, ready: Sequence[tuple[int, int]]) -> None:
        """Do what is due."""
        if self.whole is not None:
            self.whole.step()
        if self.another is not None:
            self.another.worker.step(poller, ready)
        if self.gathering is not None:
            self.gathering.step()

    def close(self, poller: select.poll) -> None:
        """Take notice of the end of the ranks here: nothing is asked or answered any more."""
        if self.another is not None:
            self.another.close(poller)
        if self.gathering is not None:
            self.gathering.close()
        if self.hub is not None:
            self.hub.reception.questions.take = lambda _machine, _kind, _message: None
        self.whole = self.another = self.gathering = None

    def gather(self) -> Round | None:
        """Ask the other machines what their ranks do, for a fork that is about to answer."""
        return self.gathering.begin() if self.gathering is not None else None

    # What is found here.

    def found_here(self, found: Mapping[str, Any]) -> None:
        """Take what the watcher here has found."""
        if found["kind"] == "answer":
            self._answered(found)
            return
        seconds: float | None = found["seconds"] if found["kind"] == "still" else None
        seen: bool = found.get("seen", True)
        if self.another is not None:
            self.another.member.stands(None if seconds is None else time.monotonic() - seconds, seen=seen)
        if self._reports_to is None and self.whole is not None:
            self.whole.stands(self.machine, seconds, seen=seen)

    @property
    def _reports_to(self) -> Member | None:
        """The side of the lifeline by which the main machine hears us, if it does."""
        member = self.another.member if self.another is not None else None
        return member if member is not None and not member.done else None

    def _answered(self, found: Mapping[str, Any]) -> None:
        stall, number = Stall.from_json(found["stall"]), found["number"]
        processes = {rank: (local, pid) for rank, local, pid in found["processes"]}
        parts = parts_of(stall.groups, stall.kinds, processes, stall.unread)
        if (member := self._reports_to) is not None:
            member.answer(number, as_message(parts))
        elif self.whole is not None:
            self.whole.answer(self.machine, number, parts)

    # The main machine.

    def _others(self) -> Mapping[int, Standing]:
        if self.hub is None:
            return {-1: Standing("", why=UNKNOWN)}
        return self.hub.reception.questions.standings()

    def _ask_here(self, number: int) -> None:
        self.ask(number)  # which the watcher that is made later sets

    def _ask(self, machine: int, number: int) -> None:
        if machine == self.machine:
            self.ask(number)
        elif self.hub is not None:
            self.hub.reception.questions.ask(machine, number, "still")

    def _from_member(self, machine: int, kind: str, message: dict[str, Any]) -> None:
        if self.whole is None or self.gathering is None:
            return
        if kind == "still":
            self.whole.stands(machine, message["seconds"], seen=message.get("seen") is not False)
        elif not self.gathering.answer(machine, message["number"], message["groups"]):
            self.whole.answer(machine, message["number"], from_message(message["groups"]))

    def _tell(self, found: Stall) -> None:
        self.audience.stalled(found)

    def broadcast(self, found: Stall, *, ends: bool) -> None:
        """Tell the other machines of a standstill."""
        fault = found.at_fault
        if self.hub is None or fault is None:
            return
        at_fault = found.reason
        if not found.blameless:
            at_fault = f"rank {fault.rank} on {merging.name(fault.machine, fault.host)}: {at_fault}"
        self.hub.reception.questions.broadcast(
            kind="stall",
            at=found.at,
            since=found.since,
            groups=as_message(parts_of(found.groups, found.kinds, {}, found.unread), LONGEST),
            unasked=[clean(each, GROUP_TEXT) for each in found.unasked],
            culprit=clean(at_fault, GROUP_TEXT),
            ends=ends,
        )
