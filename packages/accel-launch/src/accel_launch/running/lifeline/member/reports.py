"""What a machine reports to the main machine: its place, heartbeats, how its ranks end, its failure."""

from __future__ import annotations

import os
import time

from accel_launch.running.lifeline.member.clock import Clock
from accel_launch.running.lifeline.messages import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_launch.running.lifeline import Lifeline
    from accel_launch.running.lifeline.link import Link
    from accel_launch.running.lifeline.remote_failure import RemoteFailure


class Reports:
    """Holds what has to be reported, again on each new connection, with times by the main machine's clock."""

    def __init__(self, line: Lifeline, host: str) -> None:
        """Take the place of this machine."""
        self.line, self.host = line, host
        self.token = os.urandom(8).hex()
        """By which the main machine knows this one again."""
        self.clock = Clock()
        self.failure: RemoteFailure | None = None
        """What failed here."""
        self.ranks: dict[str, object] = {}
        """How the ranks here have ended, as heartbeats report it."""
        self.still: float | None = None
        """Since when nothing moves here, by the monotonic clock."""
        self.seen = True
        """Whether something was seen to move; else the time before doesn't count, as this machine slept."""
        self.finished = False
        """Whether the run is over here."""

    def introduce(self, link: Link) -> None:
        """Send which machine of which run this is."""
        line = self.line
        numbers = {"machine": line.machine, "machines": line.machines, "local": line.local, "total": line.total}
        words = {"backend": line.backend, "host": clean(self.host), "token": self.token}
        link.send(kind="hello", **numbers, **words)

    def beat(self, link: Link) -> None:
        """Send a heartbeat."""
        link.send(kind="beat", sent=time.time(), **self.ranks)

    def end(self, link: Link) -> None:
        """Send the failure here, and the end of the run here, if there are any."""
        if self.failure is not None or self.finished:
            failure = self.failure.message if self.failure is not None else None
            link.send(kind="over" if self.finished else "failed", failure=failure)

    def stillness(self, link: Link) -> None:
        """Send since when nothing moves here, or that something does."""
        if link.answers:
            seconds = None if self.still is None else max(0.0, time.monotonic() - self.still)
            link.send(kind="still", seconds=seconds, seen=self.seen)

    def groups(self, link: Link, number: int, groups: list[dict[str, Any]]) -> None:
        """Send what the ranks here do, as the answer to a question."""
        if link.answers:
            link.send(kind="groups", number=number, groups=groups)

    def set_ranks(self, *, well: bool, restarting: RemoteFailure | None) -> None:
        """Take whether the ranks here have ended well, or will be restarted after a failure."""
        again = self.clock.dated(restarting).message if restarting is not None else None
        self.ranks = {"well": well, "again": again}

    def set_failure(self, failure: RemoteFailure) -> None:
        """Take a failure here."""
        self.failure = self.clock.dated(failure)
