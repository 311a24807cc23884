"""A run of this user on this machine: what it does, and what can be done with it."""

from __future__ import annotations

import time

from accel_launch.running.onlookers.registry import asking, figures
from accel_launch.running.onlookers.registry.asking import PATIENCE
from accel_launch.runs.output import Output
from accel_launch.runs.recorded import Recorded, acting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from accel_launch.running.onlookers.registry.figures import Devices

SIGTERM = 15  # the module `signal` imports more than a list of runs needs
LOOK = 0.2  # seconds between two looks at a record that is followed


class Run(Recorded):
    """A run, by its record."""

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
        return Output(self._run, acting().output(self._run, from_now=from_now))

    def stacks(self, *, children: bool = False, variables: bool = False, native: bool = False) -> dict[str, Any]:
        """Return what each rank does right now, as ``accelerate stacks --json`` prints it.

        Raises:
            AccelError: its launcher doesn't answer.
        """
        return self._ask({"ask": "stacks", "children": children, "variables": variables, "native": native})

    def resize(self, lines: int, columns: int) -> int:
        """Give the ranks' terminals a size, and return how many there are: none between two attempts.

        Raises:
            AccelError: its launcher doesn't answer.
        """
        return int(self._ask({"ask": "resize", "lines": lines, "columns": columns}, 1.0)["terminals"])

    def _ask(self, question: dict[str, Any], patience: float = PATIENCE) -> dict[str, Any]:
        return dict(asking.ask(self._run.folder, question, patience))

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end, ``timeout`` seconds at most; return its exit status, None if it has none (yet)."""
        acting().wait(self._run, timeout)
        return self._run.status

    def send(self, number: int) -> bool:
        """Send a signal to its launcher, without waiting for anything; return whether that was there.

        Raises:
            AccelError: its launcher isn't in reach.
        """
        return acting().send(self._run, number)

    def end(self, number: int = SIGTERM) -> bool:
        """Ask it to end by a signal, without waiting for that; return False if one has asked it already.

        Raises:
            AccelError: its launcher isn't in reach, or the signal asks for something else.
        """
        return acting().end(self._run, number)

    def stop(self, number: int = SIGTERM, *, now: bool = False) -> int | None:
        """End it by a signal to its launcher, and wait for that; return its exit status.

        Args:
            number: The signal that the ranks get, if none has asked them to end already; SIGKILL is ``now``.
            now: Kill them at once, without the grace.

        Raises:
            AccelError: its launcher isn't in reach, or the signal asks for something else.
        """
        acting().stop(self._run, number, now=now)
        return self._run.status
