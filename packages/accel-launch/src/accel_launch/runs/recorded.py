"""What the record of a run says."""

from __future__ import annotations

from accel_launch.running.onlookers.registry import figures, reading
from accel_launch.running.onlookers.registry import folder as folders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def acting():
    """Return the module that ends runs and waits for them: a list of runs doesn't need what it imports."""
    from accel_launch.running.onlookers.registry import acting

    return acting


class Recorded:
    """A run, as far as its record tells."""

    def __init__(self, found: reading.Run) -> None:
        """Take it from `list` or `open`."""
        self._run = found

    @property
    def name(self) -> str:
        """Its name."""
        return self._run.name

    @property
    def path(self) -> str:
        """The folder of its record."""
        return self._run.folder.path

    @property
    def state(self) -> str:
        """What it does now: ``starting``, ``running``, ``stalled``, ``stopped``, ``ending``, ``ended``, or ``lost``.

        ``elsewhere`` is a run of another machine whose end isn't known here.
        """
        self._run.look()
        return self._run.state

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs, or if its launcher was killed."""
        self._run.look()
        return self._run.status

    @property
    def running(self) -> bool:
        """Whether its launcher lives."""
        self._run.look()
        return self._run.running

    @property
    def age(self) -> float:
        """The seconds since it began; of a run that has ended, until then."""
        return self._run.age

    @property
    def words(self) -> str:
        """Its state as `ps` prints it, such as ``ended (3)``."""
        return self._run.told

    @property
    def ending(self) -> str:
        """How it has ended, in words; why that isn't known, if it has no status."""
        self._run.look()
        return acting().ending(self._run)

    def facts(self) -> dict[str, Any]:
        """Return what ``accelerate ps --json`` prints of it."""
        self._run.look()
        return facts([self])[0]

    @property
    def description(self) -> dict[str, Any]:
        """What was known of it when it began: its command, folder, host, machine and plan."""
        return dict(self._run.file(folders.RUN) or {})

    def events(self, after: int = 0) -> Sequence[dict[str, Any]]:
        """Return the events with a higher number than ``after``."""
        return self._run.events(after)

    def report(self) -> dict[str, Any] | None:
        """Return what ``--report`` would have written, and ``time_spent``; None if it hasn't ended."""
        self._run.look()
        found = self._run.file(folders.REPORT)
        return None if found is None else {**found, "time_spent": self.time_spent()}

    def report_text(self) -> str:
        """Return the report as the launcher has printed it, its notes, and what its record lacks."""
        return acting().report(self._run)

    @property
    def left(self) -> Sequence[str]:
        """What it waits for once all its ranks have ended: the processes that they have left, by command and pid."""
        self._run.look()
        return figures.left(self._run)

    @property
    def standstill(self) -> str:
        """Since when it stands still, or stood still when it ended, and the ranks to look at; empty if it moved."""
        from accel_launch.running.onlookers.stall.telling import Stall

        told = [event for event in self._run.events() if event.get("kind") in {"stalled", "moves", "started"}]
        try:
            return Stall.from_json(told[-1]["stall"]).brief
        except (IndexError, KeyError, TypeError, ValueError, AttributeError):  # none, or of another version
            return ""

    @property
    def gaps(self) -> Sequence[str]:
        """What its record lacks because it couldn't be written, as on a full disk, in sentences."""
        self._run.look()
        return reading.gaps(self._run)

    def time_spent(self) -> dict[str, float]:
        """Return the seconds of each phase: ``starting``, ``importing``, ``running``, and so on."""
        from accel_launch.running.onlookers.registry import goodput

        return goodput.of(self._run)

    def time_words(self) -> Sequence[str]:
        """Return lines that say what its time was spent on."""
        from accel_launch.running.onlookers.registry import goodput

        return goodput.told(self._run)

    @property
    def ranks(self) -> Sequence[int]:
        """The ranks that its plan starts on this machine; empty if that isn't known."""
        count = self._run.plan.get("ranks")
        try:
            found: set[Any] = {command["rank"] for command in self._run.plan.get("commands") or ()}
        except (TypeError, KeyError):  # of another version
            return ()
        if len(found) != count or None in found:  # an engine starts them
            found = {event.get("rank") for event in self._run.events() if event.get("kind") == "started"}
        return sorted(found) if len(found) == count and None not in found else ()

    @property
    def terminals(self) -> bool:
        """Whether its ranks have terminals of their own (``launch --terminal``)."""
        return self._run.plan.get("terminals") is True

    @property
    def grace(self) -> float | None:
        """The seconds that its ranks get to end after a signal; None if that isn't known."""
        found = self._run.plan.get("grace")
        return found if isinstance(found, (int, float)) else None


def facts(found: Sequence[Recorded], *, brief: bool = False) -> Sequence[dict[str, Any]]:
    """Return what ``accelerate ps --json`` prints of runs; ``brief`` leaves out their commands."""
    runs = [each._run for each in found]
    memory = figures.device_memory(runs)
    return [figures.facts(run, memory, brief=brief) for run in runs]
