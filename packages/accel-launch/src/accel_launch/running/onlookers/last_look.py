"""A look at ranks that are about to be ended: short, whatever they are blocked in, and however many they are."""

from __future__ import annotations

import os
import time

from accel_launch.machine import forks

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from accel_launch.inspecting.subject import Subject

HURRIED = 1.3  # seconds for reading stacks while the guardian waits; on a machine with time it takes 0.05
CALM = 4.0  # seconds for it where nothing else waits
MORE = 0.5  # seconds for the rest; the guardian waits a little longer


class LastLook:
    """Looks in a fork of the launcher, one look at a time."""

    def __init__(self, subjects: Callable[[], Sequence[Subject]]) -> None:
        """Take what returns the ranks as they are."""
        self.subjects = subjects
        self.pid, self.fd, self.deadline = 0, -1, 0.0
        self.data = b""
        self.then: Callable[[Mapping[str, Any] | None], None] | None = None

    @property
    def due(self) -> float | None:
        """Seconds until the look is given up; None if there is none."""
        return max(self.deadline - time.monotonic(), 0.0) if self.pid else None

    def begin(
        self, poller: select.poll, then: Callable[[Mapping[str, Any] | None], None], limit: float = HURRIED
    ) -> bool:
        """Begin to look, and call ``then`` with what was seen, or None; return False if that can't be done now."""
        if self.pid:
            return False
        launcher, opened = os.getpid(), tuple[int, ...]()
        try:
            from accel_launch.inspecting import report, snapshot  # here, so that the next look needn't

            reader, writer = opened = os.pipe()
            self.pid = forks.fork()
        except (OSError, ImportError):  # no process or descriptor is left
            for fd in opened:
                os.close(fd)
            return False
        if self.pid == 0:
            try:
                self._look(
                    launcher,
                    writer,
                    lambda: report.as_json(snapshot.take(self.subjects(), children=True, limit=limit)),
                )
            finally:
                os._exit(0)
        os.close(writer)
        self.fd, self.data, self.then = reader, b"", then
        self.deadline = time.monotonic() + limit + MORE
        os.set_blocking(reader, False)
        poller.register(reader, 1)  # select.POLLIN
        return True

    def go_on(self, then: Callable[[Mapping[str, Any] | None], None]) -> None:
        """Let the look that was begun serve another purpose, with all its time."""
        self.then, self.deadline = then, time.monotonic() + HURRIED + MORE

    def _look(self, launcher: int, writer: int, take: Callable[[], Mapping[str, Any]]) -> None:
        import json

        from accel_launch.running.onlookers.forking import become_onlooker

        become_onlooker(launcher, b"accel-look")
        data = json.dumps(take()).encode()
        while data:
            data = data[os.write(writer, data) :]

    def step(self, poller: select.poll, ready: Sequence[tuple[int, int]]) -> None:
        """Take what was seen, or give up."""
        if not self.pid:
            return
        if self.fd in dict(ready) and self._read():
            self._finish(poller)
        elif time.monotonic() >= self.deadline:
            self.data = b""
            self._finish(poller)

    def _read(self) -> bool:
        """Read; return whether that was all."""
        try:
            while data := os.read(self.fd, 1 << 16):
                self.data += data
        except BlockingIOError:
            return False
        return True

    def _finish(self, poller: select.poll) -> None:
        import json

        then = self.then
        self.close(poller)
        try:
            found = json.loads(self.data)
        except ValueError:  # it failed, or took too long
            found = None
        if then is not None:
            then(found)

    def close(self, poller: select.poll) -> None:
        """Give up a look."""
        if not self.pid:
            return
        poller.unregister(self.fd)
        os.close(self.fd)
        forks.end(self.pid)
        self.pid, self.fd, self.then = 0, -1, None
