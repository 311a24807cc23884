"""The groups of all machines for `accelerate stacks` on the main one: asked by the launcher, read by its fork."""

from __future__ import annotations

import os
import time

from accel_launch.running.engine_record import memory_file
from accel_launch.running.onlookers.machines.merging import unasked as unasked_of
from accel_launch.running.onlookers.machines.whole_run import ANSWER, SILENT
from accel_launch.running.onlookers.stall.telling import ENDED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from accel_launch.running.lifeline.hub.questions import Questions, Standing

DONE = b"."


class Round:
    """One question to all machines. A fork can read the answers in a file in memory once all have come."""

    def __init__(self, number: int, others: Mapping[int, Standing], file: int) -> None:
        """Begin."""
        self.number, self.others, self.file = number, others, file
        self.until = time.monotonic() + ANSWER
        self.reader, self.writer = os.pipe()
        self.asked = {machine for machine, one in others.items() if not (one.why or one.over or one.back)}
        self.groups: dict[int, Any] = {}

    @property
    def complete(self) -> bool:
        """Whether nothing is left to wait for."""
        return self.asked <= self.groups.keys() or time.monotonic() >= self.until

    def finish(self) -> None:
        """Write the answers for the fork."""
        import json

        machines = [
            {"machine": machine, "host": self.others[machine].host, "groups": groups}
            for machine, groups in sorted(self.groups.items())
        ]
        reasons = {machine: one.why or (ENDED if one.over else SILENT) for machine, one in self.others.items()}
        missing = {machine: why for machine, why in reasons.items() if machine not in self.groups}
        unasked = unasked_of(missing, {machine: one.host for machine, one in self.others.items()})
        os.pwrite(self.file, json.dumps({"machines": machines, "unasked": unasked}).encode(), 0)
        os.write(self.writer, DONE)
        for fd in (self.file, self.reader, self.writer):
            os.close(fd)

    def read(self) -> Mapping[str, Any]:
        """Return the answers, once they are there; in the fork.

        Raises:
            ValueError: they didn't come.
        """
        import json
        import select

        poller = select.poll()
        poller.register(self.reader, select.POLLIN)
        if not poller.poll((ANSWER + 2) * 1000):
            raise ValueError("the launcher is busy")
        found: Mapping[str, Any] = json.loads(os.pread(self.file, os.fstat(self.file).st_size, 0))
        return found


class Gathering:
    """The questions that are open."""

    def __init__(self, numbers: Iterator[int], questions: Questions) -> None:
        """Take where the numbers of questions come from, and who asks."""
        self.numbers, self.questions = numbers, questions
        self.rounds: dict[int, Round] = {}

    def begin(self) -> Round | None:
        """Ask all machines."""
        file = memory_file("accel-stacks")
        if file is None:
            return None
        try:
            found = Round(next(self.numbers), self.questions.standings(), file)
        except OSError:  # no descriptor is left
            os.close(file)
            return None
        self.rounds[found.number] = found
        for machine in sorted(found.asked):
            self.questions.ask(machine, found.number, "stacks")
        return found

    def answer(self, machine: int, number: int, groups: list[dict[str, Any]]) -> bool:
        """Take a machine's answer; return whether it is one to a question of ours."""
        found = self.rounds.get(number)
        if found is not None and machine in found.asked:
            found.groups[machine] = groups
        return found is not None

    @property
    def due(self) -> float | None:
        """Seconds until there is something to do; None if there isn't."""
        if not self.rounds:
            return None
        if any(each.complete for each in self.rounds.values()):
            return 0.0
        return max(min(each.until for each in self.rounds.values()) - time.monotonic(), 0.0)

    def step(self) -> None:
        """End the questions that are answered."""
        for number in [number for number, each in self.rounds.items() if each.complete]:
            self.rounds.pop(number).finish()

    def close(self) -> None:
        """End all of them."""
        while self.rounds:
            self.rounds.popitem()[1].finish()
