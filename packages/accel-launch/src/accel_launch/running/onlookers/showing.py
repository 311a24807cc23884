"""Ranks that are shown with their stacks before they are killed, or before a run is ended that they didn't end."""

from __future__ import annotations

import time

from accel_launch.ranks.signals import signal
from accel_launch.running.onlookers.last_look import CALM, LastLook

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Any

    from accel_launch.inspecting.subject import Subject
    from accel_launch.planning.types import Plan
    from accel_launch.running.engine_record import EngineRecord
    from accel_launch.running.supervising.event_reader import EventReader

LINES = 19  # of a message, below its first
GRACE, STALL, LOST, JOIN, TIMEOUT = "grace", "stall", "lost machine", "join_timeout", "timeout"
"""Why ranks are shown."""
HEADS = {
    GRACE: "ranks that didn't end within the grace; they are killed now",
    STALL: "what the ranks did when standing still ended the run",
    LOST: "what the ranks did when a lost machine ended the run",
    JOIN: "what the ranks did when join_timeout ended the run",
    TIMEOUT: "what the ranks did when the run had taken too long",
}
THEIRS = "ranks that are still there after a failure; {}"
"""The head where an engine kills them, in its own time (`Plan.killer`)."""
ENGINE = 25.0  # seconds after a failure; before torch's agent and DeepSpeed kill
EARLY = 0.9  # of a grace that is shorter
PERIOD = 2.0  # seconds between two looks at an engine's record


class Showing:
    """Looks at ranks that are about to be ended, and prints what they do."""

    def __init__(
        self,
        reader: EventReader,
        record: EngineRecord | None,
        plan: Plan,
        subjects: Callable[[], Sequence[Subject]],
        say: Callable[[str], None],
    ) -> None:
        """Take the guardian's events, an engine's record, the plan, the ranks, and where to print."""
        self.reader, self.record, self.subjects, self.say = reader, record, subjects, say
        self.patience = min(EARLY * plan.grace, ENGINE)
        self.kill: Callable[[], None] = _nothing
        """Kills all ranks."""
        self.killer = plan.killer or f"{plan.engine} kills them itself"
        self.stacks: list[Mapping[str, Any]] = []
        """What was shown."""
        self.last = LastLook(subjects)
        self.early = False
        """Whether the look that was begun last is one before the end of the grace."""
        self.foreseen: Mapping[str, Any] | None = None
        """What that one has seen."""
        self.begun: set[str] = set()
        """For which reasons, and which attempts of an engine, a look was begun."""
        self.done = False
        """Whether the look before an end is over."""
        self.next = 0.0

    @property
    def due(self) -> float | None:
        """Seconds until there is something to do again; None if there isn't."""
        if self.record is None or self.last.due is not None:
            return self.last.due
        return max(self.next - time.monotonic(), 0.0)

    def step(self, poller: select.poll, ready: Sequence[tuple[int, int]]) -> None:
        """Do what is due."""
        self.last.step(poller, ready)
        if self.reader.late:
            self.reader.late = False
            self.early = self.last.begin(poller, self._foresee)
        if self.reader.overdue:
            self.reader.overdue = False
            if self.early and self.last.pid:
                self.last.go_on(self._overdue)
            elif not self.last.begin(poller, self._overdue):
                self._overdue(None)
        if self.record is not None and time.monotonic() >= self.next:
            self.next = time.monotonic() + PERIOD
            self._watch_engine(poller, self.record)

    def _watch_engine(self, poller: select.poll, record: EngineRecord) -> None:
        """Look at ranks that outstay a failure under an engine, which kills them by itself; once an attempt."""
        attempts = record.attempts
        # By SIGTERM ends who was asked to: then it is we who look, and kill, at the end of the grace.
        failed = [ending.at for ending in attempts[-1] if ending.status and ending.signal != signal.SIGTERM]
        attempt = f"attempt {len(attempts)}"
        if failed and attempt not in self.begun and time.time() > failed[0] + self.patience and record.unended:
            self.begun.add(attempt)
            head = THEIRS.format(self.killer)
            self.last.begin(poller, lambda found: self._outstaying(found, head), CALM)

    def before(self, poller: select.poll, why: str) -> bool:
        """Look at every rank, once, before the run is ended for this reason; return whether that is done."""
        if why not in HEADS or self.done:
            return True
        if why not in self.begun:
            self.begun.add(why)
            self.done = not self.last.begin(poller, lambda found: self._ended_by(why, found), CALM)
        return self.done

    def _ended_by(self, why: str, found: Mapping[str, Any] | None) -> None:
        self.done = True
        self.show(why, found)

    def _foresee(self, found: Mapping[str, Any] | None) -> None:
        self.foreseen, self.early = found, False

    def _overdue(self, found: Mapping[str, Any] | None) -> None:
        self._outstaying(found)
        self.kill()

    def _outstaying(self, found: Mapping[str, Any] | None, head: str = HEADS[GRACE]) -> None:
        """Show the ranks that are still there; the ``head`` says who kills them, and when."""
        if found is None or (self.foreseen is not None and not _is_whole(found)):
            found = self.foreseen
        left = {subject.rank for subject in self.subjects() if not subject.ended}
        if found is None:
            self._unseen(left, head)
            return
        ranks = [each for each in found["ranks"] if each["process"] and each["rank"] in left]
        there = {each["rank"] for each in ranks}
        groups = [group for group in found["groups"] if there.intersection(group["ranks"])]
        self.show(GRACE, {**found, "ranks": ranks, "groups": groups}, head)

    def _unseen(self, ranks: Collection[int], head: str) -> None:
        from accel_launch.inspecting.groups import spans

        if ranks:
            self.say(f"accel: {head}: {spans(ranks)}; what they do couldn't be seen in time\n")

    def show(self, why: str, found: Mapping[str, Any] | None, head: str = "") -> None:
        """Print what ranks do, and keep it for the report."""
        from accel_launch.inspecting import report

        if found is None or not found["ranks"]:
            return
        self.stacks.append({"why": why, **found})
        lines = report.brief(found, len(self.subjects()), LINES)
        self.say("".join(f"{line}\n" for line in (f"accel: {head or HEADS[why]}:", *lines)))

    def close(self, poller: select.poll) -> None:
        """Give up what isn't done."""
        self.last.close(poller)
        self.done = True


def _is_whole(found: Mapping[str, Any]) -> bool:
    """Return whether every process that was there could be read in time."""
    return not any(each["process"] and "in time" in (each["process"]["unread"] or "") for each in found["ranks"])


def _nothing() -> None:
    pass
