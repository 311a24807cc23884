"""The runs of this user on this machine, for programs: what `ps`, `stop`, `wait` and `report` show."""

from __future__ import annotations

import os
import signal
import time

from accel_launch.running.onlookers.registry import acting, asking, figures, goodput, reading
from accel_launch.running.onlookers.registry import folder as folders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

__all__ = ["Run", "list", "open"]

LOOK = 0.2  # seconds between two looks at a record that is followed


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

    def facts(self) -> dict[str, Any]:
        """Return what ``accelerate ps --json`` prints of it."""
        self._run.look()
        return figures.facts(self._run, figures.device_memory([self._run]))

    def now(self, *, devices: bool = True) -> dict[str, Any]:
        """Return what its launcher answers: the state, and in ``figures`` what each rank does, uses and has printed.

        Args:
            devices: Ask the vendor's tool too for the memory that each rank holds on devices, and for their use.

        Raises:
            AccelError: its launcher doesn't answer.
        """
        return figures.now(self._run, devices=figures.devices() if devices else ({}, {}))

    def output(self, rank: int, after: Sequence[int] = ()) -> dict[str, Any]:
        """Return the end of what a rank has printed, in ``output`` for each of its streams.

        Args:
            rank: Its rank.
            after: For each stream the ``until`` of the answer before, to get only what has come since.

        Raises:
            AccelError: its launcher doesn't answer, or there is no such rank.
        """
        return dict(asking.ask(self._run.folder, {"ask": "output", "rank": rank, "after": [*after]}))

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

    def report(self) -> dict[str, Any] | None:
        """Return what ``--report`` would have written, and ``time_spent``; None if it hasn't ended."""
        self._run.look()
        found = self._run.file(folders.REPORT)
        return None if found is None else {**found, "time_spent": goodput.of(self._run)}

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end, ``timeout`` seconds at most; return its exit status, None if it has none (yet)."""
        acting.wait(self._run, timeout)
        return self._run.status

    def stop(self, number: int = signal.SIGTERM, *, now: bool = False) -> int | None:
        """End it by a signal to its launcher, and wait for that; return its exit status.

        Args:
            number: The signal that the ranks get.
            now: Kill them at once, without the grace.

        Raises:
            AccelError: its launcher isn't in reach.
        """
        acting.stop(self._run, number, now=now)
        return self._run.status


def list(*, ended: bool = False) -> Sequence[Run]:  # noqa: A001
    """Return the runs of this user on this machine, the newest first; with ``ended`` those that have ended too."""
    return [Run(found) for found in reading.every(os.environ) if ended or found.running]


def open(name: str | int | None = None) -> Run:  # noqa: A001
    """Return a run by its name, an unambiguous beginning, or a pid of its processes; None is the newest.

    Raises:
        AccelError: there is no such run, or there are several.
    """
    return Run(reading.find(None if name is None else str(name), os.environ, ended=True))
