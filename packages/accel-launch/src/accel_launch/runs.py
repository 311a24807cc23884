"""The runs of this user on this machine, for programs; `accelerate ps`, `logs`, `stop` and so on use it."""

from __future__ import annotations

import os
import signal
import time

from accel_launch.running.onlookers.registry import acting, asking, figures, finding, reading
from accel_launch.running.onlookers.registry import folder as folders
from accel_launch.running.onlookers.registry.asking import PATIENCE
from accel_launch.running.onlookers.registry.figures import devices
from accel_launch.running.onlookers.registry.record.piece import Piece

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from accel_launch.running.onlookers.registry.figures import Devices
    from accel_launch.running.onlookers.registry.record.reader import Reader

__all__ = ["Output", "Piece", "Run", "devices", "facts", "list", "open", "several"]

LOOK = 0.2  # seconds between two looks at a record that is followed
SOON = 0.1  # seconds between two looks at what a run prints


class Run:
    """A run, by its record."""

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
        return acting.ending(self._run)

    def facts(self) -> dict[str, Any]:
        """Return what ``accelerate ps --json`` prints of it."""
        self._run.look()
        return facts([self])[0]

    @property
    def description(self) -> dict[str, Any]:
        """What was known of it when it began: its command, folder, host, machine and plan."""
        return dict(self._run.file(folders.RUN) or {})

    def now(self, *, devices: Devices | None = None, patience: float = PATIENCE) -> dict[str, Any]:
        """Return what its launcher answers: the state, and in ``figures`` what each rank does, uses and has printed.

        Args:
            devices: What `devices` has returned; by default the vendor's tool is asked.
            patience: Seconds that the launcher has to answer.

        Raises:
            AccelError: its launcher doesn't answer.
        """
        return figures.now(self._run, patience, figures.devices() if devices is None else devices)

    def recent(self, rank: int, after: Sequence[int] = (), *, patience: float = PATIENCE) -> dict[str, Any]:
        """Return the end of what a rank has printed, in ``output`` for each of its streams.

        Args:
            rank: Its rank.
            after: For each stream the ``until`` of the answer before, to get only what has come since.
            patience: Seconds that the launcher has to answer.

        Raises:
            AccelError: its launcher doesn't answer, or there is no such rank.
        """
        return self._ask({"ask": "output", "rank": rank, "after": [*after]}, patience)

    def events(self, after: int = 0) -> Sequence[dict[str, Any]]:
        """Return the events with a higher number than ``after``."""
        return self._run.events(after)

    def follow(self, after: int = 0) -> Iterator[dict[str, Any]]:
        """Yield each event as it comes, until the run has ended."""
        while True:
            over = not self._run.running
            for event in self._run.events(after):
                after = event["number"]
                yield event
            if over:
                return
            time.sleep(LOOK)
            self._run.look()

    def output(self, *, from_now: bool = False) -> Output:
        """Return what it has printed, and prints; ``from_now`` leaves out what it has printed already.

        Raises:
            AccelError: its record keeps none, as it wasn't started with ``--detach``.
        """
        return Output(self._run, acting.output(self._run, from_now=from_now))

    def report(self) -> dict[str, Any] | None:
        """Return what ``--report`` would have written, and ``time_spent``; None if it hasn't ended."""
        self._run.look()
        found = self._run.file(folders.REPORT)
        return None if found is None else {**found, "time_spent": self.time_spent()}

    def report_text(self) -> str:
        """Return the report as the launcher has printed it, and its notes; empty if it hasn't ended."""
        return acting.report(self._run)

    def time_spent(self) -> dict[str, float]:
        """Return the seconds of each phase: ``starting``, ``importing``, ``running``, and so on."""
        from accel_launch.running.onlookers.registry import goodput

        return goodput.of(self._run)

    def time_words(self) -> Sequence[str]:
        """Return lines that say what its time was spent on."""
        from accel_launch.running.onlookers.registry import goodput

        return goodput.told(self._run)

    def stacks(self, *, children: bool = False, variables: bool = False, native: bool = False) -> dict[str, Any]:
        """Return what each rank does right now, as ``accelerate stacks --json`` prints it.

        Raises:
            AccelError: its launcher doesn't answer.
        """
        return self._ask({"ask": "stacks", "children": children, "variables": variables, "native": native})

    def resize(self, lines: int, columns: int) -> None:
        """Give the ranks' terminals a size.

        Raises:
            AccelError: its launcher doesn't answer.
        """
        self._ask({"ask": "resize", "lines": lines, "columns": columns}, 1.0)

    @property
    def terminals(self) -> bool:
        """Whether its ranks have terminals of their own (``launch --terminal``)."""
        return self._run.plan.get("terminals") is True

    def _ask(self, question: dict[str, Any], patience: float = PATIENCE) -> dict[str, Any]:
        return dict(asking.ask(self._run.folder, question, patience))

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end, ``timeout`` seconds at most; return its exit status, None if it has none (yet)."""
        acting.wait(self._run, timeout)
        return self._run.status

    def send(self, number: int) -> bool:
        """Send a signal to its launcher, without waiting for anything; return whether that was there.

        Raises:
            AccelError: its launcher isn't in reach.
        """
        return acting.send(self._run, number)

    @property
    def grace(self) -> float | None:
        """The seconds that its ranks get to end after a signal; None if that isn't known."""
        found = self._run.plan.get("grace")
        return found if isinstance(found, (int, float)) else None

    def end(self, number: int = signal.SIGTERM) -> None:
        """Ask it to end by a signal, without waiting for that; nothing happens if a signal has asked it already.

        Raises:
            AccelError: its launcher isn't in reach, or the signal asks for something else.
        """
        acting.end(self._run, number)

    def stop(self, number: int = signal.SIGTERM, *, now: bool = False) -> int | None:
        """End it by a signal to its launcher, and wait for that; return its exit status.

        Args:
            number: The signal that the ranks get, if none has asked them to end already; SIGKILL is ``now``.
            now: Kill them at once, without the grace.

        Raises:
            AccelError: its launcher isn't in reach, or the signal asks for something else.
        """
        acting.stop(self._run, number, now=now)
        return self._run.status


class Output:
    """What a detached run has printed, and prints; each piece has ``at``, ``rank``, ``stream`` and ``data``."""

    def __init__(self, run: reading.Run, reader: Reader) -> None:
        """Take it from `Run.output`."""
        self._run, self._reader = run, reader

    @property
    def missed(self) -> int:
        """The bytes that left the record before they were read here."""
        return self._reader.missed

    def read(self, since: float | None = None) -> Iterator[Piece]:
        """Yield what is there and wasn't read yet; with ``since`` what was printed in so many last seconds."""
        return self._recent(self._reader.read(), self._from(since))

    def follow(self, since: float | None = None) -> Iterator[Piece | None]:
        """Yield what comes until the run has ended, and None after each look."""
        begin = self._from(since)
        while True:
            self._run.look()
            over = not self._run.held
            yield from self._recent(self._reader.read(), begin)
            yield None
            if over:
                return
            time.sleep(SOON)

    def _from(self, since: float | None) -> float:
        return 0.0 if since is None else self._run.now - since

    @staticmethod
    def _recent(pieces: Iterable[Piece], begin: float) -> Iterator[Piece]:
        return (piece for piece in pieces if piece.at >= begin)


def facts(found: Sequence[Run], *, brief: bool = False) -> Sequence[dict[str, Any]]:
    """Return what ``accelerate ps --json`` prints of runs; ``brief`` leaves out their commands."""
    runs = [each._run for each in found]
    memory = figures.device_memory(runs)
    return [figures.facts(run, memory, brief=brief) for run in runs]


def list(*, ended: bool = False, lost: bool = False) -> Sequence[Run]:  # noqa: A001
    """Return the runs of this user on this machine, the newest first.

    Args:
        ended: Those that have ended too.
        lost: Those too whose launcher was killed within the last day.

    Raises:
        AccelError: the folder of the records isn't this user's alone.
    """

    def wanted(run: reading.Run) -> bool:
        return ended or run.running or (lost and run.state == reading.LOST and run.recent)

    return [Run(found) for found in finding.every(os.environ) if wanted(found)]


def open(name: str | int | None = None, *, running: bool = False) -> Run:  # noqa: A001
    """Return a run by its name, an unambiguous beginning, or a pid of its processes; None is the newest.

    Args:
        name: Which one.
        running: Only one that runs.

    Raises:
        AccelError: there is no such run, or there are several.
    """
    return Run(finding.find(None if name is None else str(name), os.environ, ended=not running))


def several(names: Iterable[str], *, running: bool = False) -> Sequence[Run]:
    """Return the runs of these names, each once, as `open` finds them; the newest if there are no names."""
    found = [open(name, running=running) for name in names] or [open(running=running)]
    return [*{run.path: run for run in found}.values()]
