"""A rank whose parent is the fork server to its end, because the guardian can't adopt it."""

from __future__ import annotations

import os

from accel_launch.ranks.system import calls
from accel_launch.ranks.tool import UNSEEN_STATUS, Below, ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.guardian.events import Events
    from accel_launch.running.guardian.preloading.fork_server import ForkServer

LATE = 10.0  # seconds for the fork server to report an end that the guardian has seen


class Kept(Below):
    """The process of such a rank."""

    def __init__(self, pid: int, rank: int, server: ForkServer, events: Events) -> None:
        """Begin to watch it.

        Raises:
            OSError: the system has no more descriptors.
        """
        self.pid, self.rank, self.server, self.events = pid, rank, server, events
        try:
            self.fd = calls.open_handle(pid)
        except ProcessLookupError:  # it has ended, and its parent has collected it
            self.fd, writer = os.pipe()
            os.close(writer)

    def status(self) -> int:
        """Return the wait status with which it has ended, as its parent reports it."""
        more = True
        while more:
            more = self.server.hear()
            for line in self.server.told()["ended"]:
                pid, status = map(int, line.split())
                if pid == self.pid:
                    return status
            more = more and bool(ready([self.server.events], LATE))
        self.events.send("note", f"how rank {self.rank} ended isn't known: the process that forked it is gone")
        return UNSEEN_STATUS
