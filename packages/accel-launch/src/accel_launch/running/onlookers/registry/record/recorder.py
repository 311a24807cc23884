"""The launcher's side of the record of a run: what it was, what happens, where it is, and how it ended.

Nothing is written until a rank has printed something, or half a second has passed: until then the ranks start. A disk
that is full or can't be written ends the record, not the run.
"""

from __future__ import annotations

import os
import time

from accel_launch.machine.clock import OFFSET, steady
from accel_launch.ranks.system import calls
from accel_launch.running.onlookers.registry import cleaning
from accel_launch.running.onlookers.registry import folder as folders
from accel_launch.running.onlookers.registry.folder import Folder
from accel_launch.running.onlookers.registry.record import plain
from accel_launch.running.onlookers.registry.record.states import ENDED, ENDING, States
from accel_launch.running.onlookers.registry.record.writing import VERSION, Files, Ranks, described

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from accel_launch.planning.types import Plan
    from accel_launch.running.report.records import Event, Result

QUIET = 0.5  # seconds in which the ranks start, and nothing is written
PACE = 1.0  # seconds between two looks at what ranks have printed


class Recorder:
    """Writes the record; without a folder it does nothing."""

    def __init__(self, plan: Plan, pass_on: Callable[[Event], object] | None, folder: Folder | None = None) -> None:
        """Take the plan, who else is to know of events, and the run's folder if it has been made."""
        self.plan, self.pass_on, self.folder = plan, pass_on, folder
        self.began = _began()
        self.states, self.status = States(plan), None
        self.ranks = Ranks()
        self.ended_by = 0
        """The signal that ends the run, if one does."""
        self.failure = ""
        """Why the record is incomplete."""
        self.numbered = 0  # events so far
        self.waiting: list[str] = []
        self.described, self.printed, self.busy = False, False, False
        self.changed: float | None = None
        """When something changed that the file of the state doesn't hold, in monotonic seconds."""
        self.next = time.monotonic() + QUIET  # when the state may be written at the earliest
        self._add("launched", at=self.began)

    def open(self) -> Folder:
        """Return the run's folder.

        Raises:
            OSError: it can't be made.
        """
        if self.folder is None:
            self.folder = Folder.make(os.environ, self.plan.recording.name)
        return self.folder

    def event(self, event: Event) -> None:
        """Take an event of the ranks, and pass it on."""
        if self.pass_on is not None:
            self.pass_on(event)
        self._add(event.kind, **_facts(event))
        self.states.follow(event)
        if event.attempt is not None:  # who lists the runs learns of it at once
            self.printed, self.ranks, self.next = False, Ranks(self.ranks.line()), 0.0

    def signal(self, number: int, at: float) -> None:
        """Take a signal to the launcher that ends the run; it is called within the signal's handler."""
        self._add("signal", signal=number, time=at)
        self.states.now, self.ended_by = ENDING, number
        if self.described and not self.busy:
            self._write()

    def _add(self, kind: str, **facts: object) -> None:
        self.numbered += 1
        self.waiting.append(plain.text({"at": steady(), **facts, "number": self.numbered, "kind": kind}) + "\n")
        self.changed = self.changed or time.monotonic()

    def prints(self) -> None:
        """Take notice that a rank has printed something."""
        if not self.printed:
            self.printed = self.ranks.connected = True
            self._add("prints", attempt=self.states.attempt)
            self.next = 0.0
        elif self.changed is None:  # what ranks print one after the other is written once
            self.changed, self.next = (now := time.monotonic()), max(self.next, now + PACE)

    @property
    def active(self) -> bool:
        """Whether there is a record to write."""
        return self.folder is not None and self.plan.recording.kept

    @property
    def due(self) -> float | None:
        """Seconds until there is something to write."""
        if not self.active:
            return None
        due = [] if self.changed is None else [self.next]
        due += [] if self.ranks.connected else [self.ranks.next]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def step(self) -> None:
        """Write what is due."""
        if self.due != 0.0:
            return
        if self.ranks.connects():
            self._add("connects", attempt=self.states.attempt)
        if self.changed is not None and self.next <= time.monotonic():
            self._write()

    def _write(self) -> None:
        """Write the events, and the state as it is now."""
        if self.folder is None:
            self.changed = None
            return
        files = Files(self.folder.path)
        self.busy = True
        try:
            if not self.described:
                files.put(folders.RUN, plain.text(described(self.plan, self.began)))
                self.described = True
            while self.changed is not None:  # a signal may come meanwhile
                self.changed = None
                lines, self.waiting = "".join(self.waiting), []
                if lines:
                    try:
                        files.append(folders.EVENTS, lines)
                    except OSError:
                        self.waiting.insert(0, lines)
                        raise
                files.put(folders.STATE, plain.text(self.facts()))
            self.folder.note(folders.FAILED, None)
        except (OSError, ImportError) as error:  # without descriptors nothing can be loaded either
            self.failure = _incomplete(self.folder, error)
            self.changed = time.monotonic()  # the disk may have room again later
        finally:
            self.busy = False
            self.next = time.monotonic() + PACE

    def facts(self) -> dict[str, object]:
        """Return where the run is now."""
        return {
            "version": VERSION,
            "launcher": os.getpid(),
            "host": os.uname().nodename,
            "began": self.began,
            "at": steady(),
            "clock": OFFSET,
            "state": self.states.now,
            "status": self.status,
            "ended_by": self.ended_by or None,
            "attempt": self.states.attempt,
            "stalls": self.states.stalls,
            "count": self.plan.hosted or len(self.plan.commands),
            "processes": len(self.plan.commands),
            **self.ranks.facts(),
        }

    def events(self, after: int) -> list[Any]:
        """Return the events with a higher number than ``after``; in a fork."""
        import json

        from accel_launch.running.onlookers.registry.reading import Run

        path = "" if self.folder is None else self.folder.path
        written = Run(path).events(after) if self.described else []
        waiting = [json.loads(line) for line in "".join(self.waiting).splitlines()]
        return written + [event for event in waiting if event["number"] > after]

    def end(self, result: Result, failure: str = "") -> Result:
        """Write how the run has ended; return the result with what is to be noted, also another ``failure``."""
        if failure:
            result = result.replace(notes=(*result.notes, failure))
        if self.folder is None:
            return result
        self.folder.note(folders.ENDED, f"{result.status}@{steady():.3f}")  # for who waits for it
        if not self.plan.recording.kept:
            self.folder.remove()
            return result
        from accel_launch.running.report import rendering

        host, files = os.uname().nodename, Files(self.folder.path)
        self.states.now, self.status = ENDED, result.status
        self._add("finished", status=result.status, signal=result.signal)
        self.failure = ""
        self._write()
        try:
            files.put(
                folders.TEXT, rendering.text(result, host) + rendering.closing(result) + rendering.queued(result)
            )
            files.put(folders.REPORT, plain.text(rendering.data(result, host)))
        except OSError as error:
            self.failure = _incomplete(self.folder, error)
        recording = self.plan.recording
        cleaning.clean(os.path.dirname(self.folder.path), recording.age, recording.count, self.folder.name)
        return result.replace(notes=(*result.notes, self.failure)) if self.failure else result


def _facts(event: Event) -> dict[str, Any]:
    """Return what the record says of an event."""
    facts: dict[str, Any] = {"rank": event.rank, "local_rank": event.local_rank, "pid": event.pid}
    if event.ending is not None:
        facts |= {"status": event.ending.status, "signal": event.ending.signal, "time": event.ending.at}
    if event.attempt is not None:
        facts = {**dict(event.attempt), "attempt": event.attempt.number}
    if event.stall is not None:
        facts["stall"] = event.stall.as_json()
    return facts


def _incomplete(folder: Folder, error: Exception) -> str:
    """Return why a record is incomplete, and note it where a full disk has room for it."""
    folder.note(folders.FAILED, getattr(error, "errno", 0) or 0)
    return f"the record of the run is incomplete: {getattr(error, 'strerror', '') or error}"


def _began() -> float:
    """Return when this process started, in seconds since the epoch."""
    return steady() - calls.age()
