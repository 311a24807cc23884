"""A run as its record shows it."""

from __future__ import annotations

import os
import time

from accel_launch.inspecting import kernel
from accel_launch.machine import process_tree
from accel_launch.running.onlookers.registry import folder as folders
from accel_launch.running.onlookers.registry.folder import Folder
from accel_launch.running.onlookers.registry.record import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

RECENT = 86400.0  # seconds for which a run that was lost is listed with those that run
HUGE = 1e12  # a number that is none of ours: seconds, counts
LARGEST = 1 << 26  # bytes of a file that is read whole
ENDED, LOST, ELSEWHERE, STOPPED, STARTING = "ended", "lost", "elsewhere", "stopped", "starting"


class Run:
    """A run: its folder, and what is known of it now."""

    def __init__(self, path: str, changed: float = 0.0) -> None:
        """Take the path of its folder, and when that last changed."""
        self.folder, self.changed, self.noted = Folder(path), changed, dict[str, str]()
        self.look()

    @property
    def name(self) -> str:
        """Its name."""
        return self.folder.name

    def look(self) -> None:
        """Look again."""
        # The lock first: who has written the end lets go of it later.
        self.held, self.pid, machine = folders.lock(os.path.join(self.folder.path, folders.LOCK))
        self.locked = self.held or bool(machine)
        self.here = self.held or bool({*machine} & {b"", *folders.machine_names()})
        self.restarted = self.here and not self.held and folders.machine_names()[-1] not in machine
        self.facts: Mapping[str, Any] = self.file(folders.STATE) or {}
        self.notes = folders.notes(machine) or self.noted
        """What its launcher has noted in the lock's file."""
        if not self.held and self.status is None:
            self._take_end()
        clock, same_boot = (
            _number(self.facts.get("clock")),
            self.pid if self.held else self.here and not self.restarted,
        )
        self.shift = time.time() - time.monotonic() - clock if clock and same_boot else 0.0
        """By how much the clock was set since its launcher has begun, as far as that is known."""

    def remember(self, lock: int) -> None:
        """Take from the open file of its lock how it has ended, for a run that leaves no record."""
        self.noted = folders.notes(os.pread(lock, 1 << 10, 0).split())
        self.look()

    def _take_end(self) -> None:
        """Take how a run has ended from the file of its lock, where the disk had no room for its state.

        Its last line isn't known then.
        """
        status, _, at = self.notes.get(folders.ENDED, "").partition("@")
        try:
            self.facts = {**self.facts, "status": int(status), "at": float(at), "line": ""}
        except ValueError:
            pass

    def file(self, name: str) -> Any:
        """Return what a file of the record holds; None if there is none, or another version wrote something else."""
        text = self.text(name)
        try:
            found: Any = plain.value(text) if text else None
        except (ValueError, RecursionError):
            return None
        return found if _is_object(found) else None

    def text(self, name: str) -> str:
        """Return the text of a file of the record; empty if there is none."""
        try:
            fd = os.open(os.path.join(self.folder.path, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return ""
        text = b""
        try:
            while len(text) < LARGEST and (data := os.read(fd, 1 << 20)):
                text += data
        except OSError:
            pass
        finally:
            os.close(fd)
        return text.decode(errors="replace")

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """Return its events from the one after a number on; a line that isn't whole is left out."""
        found: list[dict[str, Any]] = []
        for line in self.text(folders.EVENTS).splitlines():
            try:
                event: Any = plain.value(line)
            except (ValueError, RecursionError):
                continue
            if _is_object(event) and _number(event.get("at")) and _number(event.get("number")) > after:
                found.append(event)
        return found

    @property
    def plan(self) -> Mapping[str, Any]:
        """What is known of its plan."""
        described: Mapping[str, Any] = self.file(folders.RUN) or {}
        found: Any = described.get("plan")
        return found if _is_object(found) else {}

    @property
    def running(self) -> bool:
        """Whether its launcher lives, also if it can't be seen from here."""
        return self.held and self.status is None

    @property
    def status(self) -> int | None:
        """Its exit status; None if it has none, or if that isn't known."""
        found = self.facts.get("status")
        return found if isinstance(found, int) else None

    @property
    def state(self) -> str:
        """What it does: starting, running, stalled, stopped, ending or ended; lost if its launcher was killed."""
        if self.status is not None:
            return ENDED
        if self.held:
            if self.pid and process_tree.stopped(self.pid):
                return STOPPED
            return str(self.facts.get("state") or STARTING)
        return LOST if self.here else ELSEWHERE

    @property
    def told(self) -> str:
        """Its state in words."""
        if self.state == ENDED:
            return f"ended ({self.status})"
        if self.state == LOST:
            return "lost: the machine was started again" if self.restarted else "lost: its launcher was killed"
        return f"on {self.facts.get('host', 'another machine')}" if self.state == ELSEWHERE else self.state

    @property
    def began(self) -> float:
        """When it began, in seconds since the epoch."""
        return self.began_at + self.shift

    @property
    def seen(self) -> float:
        """When its record was last written, in seconds since the epoch."""
        at = _number(self.facts.get("at"))
        return at + self.shift if at else self.changed

    @property
    def began_at(self) -> float:
        """When it began, by the clock of its record."""
        return _number(self.facts.get("began")) or self.changed - self.shift

    @property
    def now(self) -> float:
        """The time now, by the clock of its record."""
        return time.time() - self.shift

    @property
    def age(self) -> float:
        """For how long it has run."""
        return max(0.0, (time.time() if self.running else self.seen) - self.began)

    @property
    def recent(self) -> bool:
        """Whether it hasn't ended for long."""
        return abs(time.time() - self.seen) < RECENT

    @property
    def ranks(self) -> list[tuple[int, int, float]]:
        """The ranks that run, each with its pid and its seconds of CPU; a pid that is another's now is left out."""
        found: Any = self.facts.get("ranks") if self.running else None
        try:
            listed = [(int(rank), int(pid), int(ticks)) for rank, pid, ticks in found or ()]
        except (TypeError, ValueError):  # of another version
            return []
        facts = ((one, kernel.process(one[1])) for one in listed)
        return [
            (*one[:2], seen[2]) for one, seen in facts if seen and seen[3] == one[2] and seen[1] not in kernel.ENDED
        ]


def lost(run: Run) -> tuple[int, str]:
    """Return the bytes of output that the record of a run lacks, and why."""
    size, _, number = run.notes.get(folders.LOST, "").partition("/")
    return (int(size), _reason(number)) if size.isdecimal() else (0, "")


def gaps(run: Run) -> list[str]:
    """Return what the record of a run lacks, as far as a full disk let its launcher note it."""
    size, reason = lost(run)
    failed = run.notes.get(folders.FAILED)
    found = [f"{size} bytes of the output of the run aren't in its record: {reason}"] if size else []
    return found if failed is None else [*found, f"the record of the run is incomplete: {_reason(failed)}"]


def _reason(number: str) -> str:
    """Return what an errno means."""
    return os.strerror(int(number)) if number.isdecimal() and int(number) else "it can't be written"


def _is_object(found: object) -> bool:
    return isinstance(found, dict)


def _number(found: object) -> float:
    return float(found) if isinstance(found, (int, float)) and abs(found) < HUGE else 0.0
