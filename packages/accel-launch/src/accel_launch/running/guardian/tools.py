"""Ranks below tools (``--wrap``): who is signalled and watched is the rank itself, once it has reported itself.

Such a rank has ended when it fails, or when its tool fails. If the rank ends well, its tool may still write what it
has found, and the rank has ended when the tool has. A tool whose rank has failed gets the grace for that.
"""

from __future__ import annotations

import os

from accel_launch.ranks.system import calls
from accel_launch.ranks.tool import LATE, UNSEEN, UNSEEN_STATUS, Below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from accel_launch.running.guardian.children import Children
    from accel_launch.running.guardian.events import Events
    from accel_launch.running.guardian.teardown import Teardown

NOT_STARTED = (126, 127)  # the tool itself, or what it should start, can't be executed
UNKNOWN = "only the command of --wrap knows how it ended; with Linux 6.15 or later the launcher does as well"


class Tools:
    """The tools that run, and who is below them."""

    below = Below

    def __init__(self, children: Children, events: Events, teardown: Teardown) -> None:
        """Start without any."""
        self.children, self.events, self.teardown = children, events, teardown
        self.waiting: dict[int, tuple[int, Below]] = {}
        """The tools whose rank hasn't reported itself, by pid."""
        self.met: dict[int, int] = {}
        """The pid of each tool whose rank has, by the rank's; 0 for one that has ended."""
        self.finishing: set[int] = set()
        """The tools whose rank has ended well."""

    def enlist(self, rank: int, tool: int, below: Below) -> None:
        """Take a tool that was started for a rank.

        Raises:
            OSError: the kernel can't watch it.
        """
        self.children.ranks[tool] = rank
        self.children.watch(tool)
        self.children.poller.register(below.heard, calls.READABLE)
        self.waiting[tool] = rank, below
        self.teardown.asked.add(tool)  # nobody asks it to end: it does after its rank

    def hear(self, ready: Container[int]) -> None:
        """Meet the ranks that have reported themselves."""
        for tool, (rank, below) in tuple(self.waiting.items()):
            if below.heard in ready:
                self._meet(tool, rank, below)

    def _meet(self, tool: int, rank: int, below: Below, seconds: float = 0.0) -> None:
        """Let the rank take the place of its tool, which it may be itself."""
        del self.waiting[tool]
        self.children.poller.unregister(below.heard)
        if below.meet(seconds) and below.pid != tool:
            self.children.ranks.pop(tool, None)
            self.children.ranks[below.pid] = rank
            self.children.below[below.pid] = below
            self.children.register(below.fd, below.pid)
            self.met[below.pid] = tool
        elif below.fd >= 0:
            os.close(below.fd)
        self.events.send("started", rank, below.pid or tool)
        below.let_go_on()

    def ended(self, pid: int, rank: int | None, status: int) -> tuple[int | None, int]:
        """Take the end of a process, which was a rank's; return the rank that has ended with it, and its status."""
        if pid in self.waiting:
            number, below = self.waiting[pid]
            self._meet(pid, number, below, 0.0 if status else LATE)
            if below.pid in self.met:
                return self._left(below.pid, status)
            if not (below.reported or self.teardown.stopping):
                return rank, self._unseen(number, status)
        elif pid in self.met:
            tool = self.met.pop(pid)
            if self.children.below.pop(pid).ended is None:
                self.events.send("note", f"rank {rank}: {UNKNOWN}")
            if rank is not None and not status and tool:
                self.children.ranks[tool] = rank
                self.finishing.add(tool)
                return None, 0
        elif pid in self.finishing and status:
            if self.teardown.stopping:  # the tool may have had no time
                return rank, 0
            self.events.send("note", f"rank {rank} ended well; the command of --wrap before it failed")
        elif rank is None:
            own = next((own for own, tool in self.met.items() if tool == pid), None)
            return (None, 0) if own is None else self._left(own, status)
        return rank, status

    def _left(self, own: int, status: int) -> tuple[int | None, int]:
        """Take the end of the tool of a rank that runs; the rank goes on if its tool has left well."""
        self.met[own] = 0
        if not status:
            return None, 0
        rank = self.children.ranks.pop(own)
        if not self.teardown.stopping:
            self.events.send("note", f"rank {rank} was running when the command of --wrap before it failed")
        return rank, status

    def _unseen(self, rank: int, status: int) -> int:
        """Take the end of a tool that has started no rank; return the status of the rank."""
        if not status:
            self.events.send("unstarted", rank, UNSEEN)
        elif os.waitstatus_to_exitcode(status) not in NOT_STARTED:
            self.events.send("note", f"the command of --wrap before rank {rank} failed before the rank began")
        return status or UNSEEN_STATUS
