"""A fork of the launcher that looks at the ranks here for the main machine: nothing that it takes holds us up."""

from __future__ import annotations

import os
import time

from accel_launch.machine import forks

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Sequence
    from typing import Any

    from accel_launch.inspecting.subject import Subject

MOST = 4  # questions that one look answers
PATIENCE = 20.0  # seconds for a look, after which it is given up


class Worker:
    """Looks once at a time, however often it is asked."""

    def __init__(
        self, subjects: Callable[[], Sequence[Subject]], answer: Callable[[int, list[dict[str, Any]]], None]
    ) -> None:
        """Take the ranks, and what takes the answer to a question."""
        self.subjects, self.answer = subjects, answer
        self.numbers: list[int] = []
        """Questions that aren't answered."""
        self.pid, self.reader = 0, -1
        self.until = 0.0

    @property
    def due(self) -> float | None:
        """Seconds until there is something to do; None if there isn't."""
        if self.pid:
            return max(self.until - time.monotonic(), 0.0)
        return 0.0 if self.numbers else None

    def ask(self, number: int) -> None:
        """Take a question."""
        self.numbers = [*self.numbers[1 - MOST :], number]

    def step(self, poller: select.poll, ready: Sequence[tuple[int, int]]) -> None:
        """Begin or end a look."""
        if self.pid and (self.reader in dict(ready) or time.monotonic() >= self.until):
            self._finish(poller)
        elif not self.pid and self.numbers:
            self._begin(poller)

    def _begin(self, poller: select.poll) -> None:
        launcher, opened = os.getpid(), tuple[int, ...]()
        try:
            reader, writer = opened = os.pipe()
            self.pid = forks.fork()
        except OSError:
            for fd in opened:
                os.close(fd)
            self.numbers.clear()
            return
        if self.pid == 0:
            try:
                _look(self.subjects, writer, launcher)
            finally:
                os._exit(0)
        os.close(writer)
        self.reader, self.until = reader, time.monotonic() + PATIENCE
        poller.register(reader, 1)  # select.POLLIN

    def _finish(self, poller: select.poll) -> None:
        import json

        os.set_blocking(self.reader, False)
        try:
            data = os.read(self.reader, 1 << 16)  # a pipe takes as much at once
        except BlockingIOError:
            data = b""
        numbers, self.numbers = self.numbers, []
        self.close(poller)
        if data:
            groups = json.loads(data)
            for number in numbers:
                self.answer(number, groups)

    def close(self, poller: select.poll) -> None:
        """End a look, if there is one."""
        if not self.pid:
            return
        poller.unregister(self.reader)
        os.close(self.reader)
        forks.end(self.pid)
        self.pid, self.reader = 0, -1


def _look(subjects: Callable[[], Sequence[Subject]], writer: int, launcher: int) -> None:
    import json

    from accel_launch.inspecting import groups, snapshot
    from accel_launch.running.onlookers.forking import become_onlooker
    from accel_launch.running.onlookers.machines.parts import as_message, parts_of

    become_onlooker(launcher, b"accel-look")
    found = snapshot.take(subjects())
    processes = {stack.rank: (stack.local_rank, stack.pid) for stack in found.ranks}
    os.write(writer, json.dumps(as_message(parts_of(groups.grouped(found.ranks), {}, processes))).encode())
