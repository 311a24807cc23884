"""What is made of standstills: they are printed, told to the caller, kept for the report, and may end the run."""

from __future__ import annotations

import os
import time

from accel_launch.running.onlookers.showing import STALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_launch.planning.types import Plan
    from accel_launch.running.onlookers.showing import Showing
    from accel_launch.running.onlookers.stall.glance import Glance
    from accel_launch.running.onlookers.stall.telling import Stall
    from accel_launch.running.report.records import Event
    from accel_launch.running.supervising.event_reader import EventReader

LATER = "so --stall_action end ends the run only after {}"
KEPT = 8  # standstills whose whole stacks are kept, the latest ones: they may have megabytes
SETTLE = 1.0  # seconds in which what moves may turn out to be the end: a rank prints its traceback before it ends


class Standstills:
    """Those of an attempt, as the watcher here or the main machine tells of them."""

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        plan: Plan,
        name: str,
        logs: str | None,
        reader: EventReader,
        showing: Showing,
        glance: Glance | None,
        ending: Callable[[], bool],
    ) -> None:
        """Take the run and its name, the folder of log files, who is told of events, and who looks at ranks.

        ``ending`` returns whether the run is about to end by a signal or a failure.
        """
        self.plan, self.name, self.logs, self.reader = plan, name, logs, reader
        self.showing, self.glance, self.ending = showing, glance, ending
        self.moving: tuple[float, str] | None = None
        """When the run was seen to move again, by the monotonic clock, and the line to print."""
        self.broadcast: Callable[..., None] | None = None
        """Tells other machines of a standstill, and whether it ends the run."""
        self.found: list[Stall] = []
        self.ended_at: float | None = None
        """When one has ended the run, in seconds since the epoch."""
        self.revived = False
        """Whether a rank was killed, so that all are started again; that moves them."""

    @property
    def last(self) -> Stall | None:
        """The last one; None if there was none."""
        return self.found[-1] if self.found else None

    @property
    def unshown(self) -> bool:
        """Whether one has ended the run that came without stacks: the main machine has found it."""
        return self.ended_at is not None and not self.found[-1].stacks

    @property
    def writes(self) -> str | None:
        """The folder for the whole stacks of each standstill; None if they aren't to be written."""
        if self.plan.watching.action != "stacks":
            return None
        from accel_launch.running.onlookers.stall.keeping import home

        return self.logs or home(os.environ)

    @property
    def store(self) -> int:
        """The port of torch's store; 0 if no rank has it."""
        return int(self.plan.commands[0].env.get("MASTER_PORT") or 0)

    def tell(self, line: str) -> None:
        """Print a line, unless standing still has ended the run."""
        if self.ended_at is None:
            self.reader.print_line(line)

    def note(self, text: str) -> None:
        """Take what there is to say of who looks on."""
        self.reader.note(text)

    def moves(self, line: str) -> None:
        """Take that the run moves again, and a line to print in a moment, unless it was its end that moved."""
        self.moving, self.revived = None if self.revived else (time.monotonic(), line), False

    @property
    def due(self) -> float | None:
        """Seconds until there is something to do again; None if there isn't."""
        return None if self.moving is None else max(self.moving[0] + SETTLE - time.monotonic(), 0.0)

    def step(self, *, over: bool = False) -> None:
        """Do what is due; ``over`` if the attempt is."""
        if self.moving is None or (self.due and not over):
            return
        (_since, line), self.moving = self.moving, None
        complained = self.glance is not None and self.glance.recent
        if self.ended_at is None and not complained and not self.ending():
            self.reader.print_line(line)
            self._notify("moves", -1, None)

    def stalled(self, stall: Stall, ends: bool | None = None) -> None:
        """Tell of a standstill; ``ends`` is what the main machine has decided, if it has told of this one already."""
        if self.ended_at is not None:
            return
        self.step(over=True)
        self.found.append(stall)
        self.found[-KEPT - 1 : -KEPT] = [each.replace(stacks=()) for each in self.found[-KEPT - 1 : -KEPT]]
        if ends is None:
            from accel_launch.machine.clock import duration
            from accel_launch.running.onlookers.stall.telling import PATIENCE

            asked = self.plan.watching.action == "end" and stall.sure
            patience = PATIENCE * self.plan.watching.after
            ends = asked and (not stall.perhaps or stall.seconds >= patience)
            hint = f"accelerate stacks {self.name} --all_threads shows more" if self.name else ""
            self.reader.print_line(stall.text(hint, LATER.format(duration(patience)) if asked and not ends else ""))
            ends = ends and not self._revive(stall)
            if self.broadcast is not None:
                self.broadcast(stall, ends=ends)
        self._notify("stalled", stall.culprit, stall)
        if ends:
            self.ended_at = time.time()
            groups = [group.as_json() for group in stall.groups]
            self.showing.show(STALL, {"at": stall.at, "groups": groups, "ranks": list(stall.stacks)})

    def _revive(self, stall: Stall) -> bool:
        """Kill the rank to blame, if the engine then starts all again by itself, and may still do so."""
        import signal

        from accel_launch.inspecting import kernel

        record, below = self.showing.record, kernel.children(os.getpid())
        number = len(record.attempts) if record is not None else 0
        there = [each for each in self.showing.subjects() if not each.ended and each.pid in below]
        if not 0 < number <= self.plan.revivals or not there:
            return False
        killed = next((each for each in there if each.rank == stall.culprit), there[0])
        os.kill(killed.pid, signal.SIGKILL)
        self.revived = True
        times = f"restart {number} of {self.plan.revivals}"
        self.reader.print_line(
            f"accel: rank {killed.rank} is killed, so that {self.plan.engine} starts all again: {times}\n"
        )
        return True

    def _notify(self, kind: str, rank: int, stall: Stall | None) -> None:
        from accel_launch.running.report.records import Event

        found = next((each for each in self.showing.subjects() if each.rank == rank), None)
        local, pid = (found.local_rank, found.pid) if found is not None else (-1, 0)
        event: Event = Event(kind, rank, local, pid, stall=stall)
        self.reader.tell(event)
