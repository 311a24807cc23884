"""The end of a run over several machines, as its main machine decides it."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.lifeline import Lifeline
    from accel_launch.running.lifeline.hub.peers import Roster
    from accel_launch.running.lifeline.link import Link
    from accel_launch.running.lifeline.remote_failure import RemoteFailure


class RunEnd:
    """Collects the failures of all machines, and names the first."""

    def __init__(self, line: Lifeline, roster: Roster) -> None:
        """Begin with a run that goes on on the machines of ``roster``."""
        self.line, self.roster = line, roster
        self.failures: dict[int, RemoteFailure] = {}
        """The first failure that each machine reports."""
        self.since: float | None = None
        """When the run began to end, by the monotonic clock."""
        self.grace = line.grace(lost=False)
        self.lost = False
        """Whether a lost machine ends it."""
        self.first: RemoteFailure | None = None
        """The first failure anywhere, once it is known."""

    def add(self, failure: RemoteFailure, *, lost: bool = False) -> None:
        """Take a failure, by which the run ends; ``lost`` if the launcher of the machine is gone or silent."""
        before = self.failures.get(failure.machine)
        if before is None or failure.at <= before.at:
            self.failures[failure.machine] = failure
        if self.since is None:
            self.since = time.monotonic()
            self.grace, self.lost = self.line.grace(lost=lost), lost
            for peer in self.roster.present.values():
                self.tell(peer.link)

    def tell(self, link: Link) -> None:
        """Tell a machine that the run ends."""
        link.send(kind="end", grace=self.grace, **({"lost": self.lost} if link.losses else {}))

    def decide(self, now: float, *, complete: bool) -> None:
        """Name the first failure once all reports are ``complete``, or have had the time to come."""
        if self.since is None or self.first is not None:
            return
        if complete or now - self.since > self.grace + self.line.pause:
            self.first = min(self.failures.values(), key=lambda failure: failure.at)
            self.roster.broadcast(kind="verdict", failure=self.first.message)
