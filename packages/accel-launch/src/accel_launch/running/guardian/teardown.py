"""How the guardian brings its ranks, and all processes below them, to an end."""

from __future__ import annotations

import os
import time

from accel_launch.machine import process_tree
from accel_launch.ranks.signals import signal
from accel_launch.ranks.system import calls
from accel_launch.running.engine_record import LIMIT, read, running_in
from accel_launch.running.guardian.orders import STOP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from accel_launch.running.guardian.children import Children
    from accel_launch.running.guardian.events import Events
    from accel_launch.running.guardian.workload import Workload

LONGEST = 86400.0  # seconds of one wait: the kernel counts milliseconds in 31 bits
SOON = 0.05  # seconds for ranks to end before what ended ranks left is looked for, among all processes
LOOK = 2.0  # seconds for the launcher to look at ranks that outstay the grace, before they are killed
EARLY = 2.0  # seconds before the end of the grace, or half of it, for a look in case that the machine is slow
LAST_MOMENTS = 5.0  # seconds that leftovers of a successful script get between SIGTERM and SIGKILL


class Teardown:
    """Asks processes to end, and kills those that outstay the grace."""

    def __init__(self, children: Children, events: Events, work: Workload) -> None:
        """Take what runs: its grace, its launcher, which looks at ranks, and the record of an engine's ranks."""
        self.children, self.events, self.grace, self.launcher = children, events, work.grace, work.launcher
        self.record = work.record
        self.pid = os.getpid()
        self.signals = 0
        """How many signals that end the run have come."""
        self.ordered = False
        """Whether the launcher has ordered the end: it isn't that of a failure here."""
        self.stopping = False
        """Whether everything was asked to end."""
        self.lingering = False
        """Whether all ranks have ended, and processes that they left behind get the grace to finish."""
        self.asked: set[int] = set()
        """Processes that were asked to end, by us or by an engine: as leftovers they aren't asked again."""
        self.overdue = False
        """Whether the launcher was asked to look at ranks that outstay the grace."""
        self.early: float | None = None
        """When to have the launcher look at ranks that may outstay the grace."""
        self.deadline: float | None = None
        self.look_at: float | None = None
        """When to look for leftovers of ended ranks while others still end."""

    @property
    def timeout(self) -> float:
        """Seconds to wait for the deadline or the next look, a day at most; -1 without either."""
        due = min((at for at in (self.deadline, self.look_at, self.early) if at is not None), default=None)
        return -1.0 if due is None else min(LONGEST, max(0.0, due - time.monotonic()))

    def end_by(self, order: int) -> None:
        """Pass on a signal that ends the run; a second one ends it at once (a terminal that closes sends two)."""
        self.ordered = True
        self.signals += order != STOP
        if order == STOP:
            self.stop(signal.SIGTERM)
        elif self.signals > 1 and order != signal.SIGHUP:
            self.kill()
        elif self.signals == 1:
            self.stop(order)

    def stop(self, number: int) -> None:
        """Ask every rank to end by a signal, and give it the grace to."""
        self.stopping = True
        if not calls.ADOPTS:
            self.leftovers()  # who is seen now is found again when its parent has gone
        if self.children.fork_server is not None:
            process_tree.send(self.children.fork_server, signal.SIGKILL)
        if self.children.ranks and self.record is not None:
            self.asked.update(running_in(read(self.record, LIMIT)))
        for pid in self.children.ranks:
            self._ask(pid, number, self.children.send)
        if self.deadline is None or self.lingering:
            self.deadline = time.monotonic() + self.grace
            self.early = self.deadline - min(EARLY, self.grace / 2) if self.grace else None
        self.lingering = False
        self.look_at = time.monotonic() + SOON

    def advance(self, *, some_left: bool) -> None:
        """Look after processes that ranks left behind, and kill what outstays its time."""
        leftovers = some_left and not self.children.ranks and self.children.fork_server is None
        if leftovers and not self.stopping and self.deadline is None:
            self.lingering = True
            self.deadline = time.monotonic() + self.grace
        if self.stopping and not (self.children.ranks and self.look_at and time.monotonic() < self.look_at):
            self.look_at = None
            for pid in filter(process_tree.stopped, self.children.ranks):
                self.children.send(pid, signal.SIGCONT)  # it was about to stop when it was asked
            self._ask_leftovers()
        if self.early is not None and time.monotonic() >= self.early:
            self.early = None
            if self.children.ranks:
                self.events.send("late")
        if self.deadline is None or time.monotonic() < self.deadline:
            return
        if self.lingering:
            for pid in self.leftovers():
                self.events.send("left", pid, process_tree.title(pid))
            self.lingering, self.stopping = False, True
            self.deadline = time.monotonic() + min(self.grace, LAST_MOMENTS)
            self._ask_leftovers()
        elif self.grace and self.children.ranks and not (self.overdue or process_tree.stopped(self.launcher)):
            self.overdue = True
            self.deadline = time.monotonic() + LOOK  # the launcher has us killed earlier, once it has looked
            self.events.send("overdue")
        else:
            self.kill()

    def end_grace(self) -> None:
        """Let the grace be over now, if it still runs."""
        if self.stopping and not self.overdue:
            self.deadline = time.monotonic()

    def _ask(self, pid: int, number: int, send: Callable[[int, int], None]) -> None:
        """Send a process a signal, and let it go on if it is stopped: some act on a SIGCONT, or a debugger does."""
        stopped = process_tree.stopped(pid)
        send(pid, number)
        if stopped:
            send(pid, signal.SIGCONT)

    def _ask_leftovers(self) -> None:
        """Ask processes that ended ranks left behind to end as well: those whose own parents are gone."""
        found = self.leftovers()
        for pid, (parent, *_facts) in found.items():
            if parent not in found and pid not in self.children.ranks and pid not in self.asked:
                self.asked.add(pid)
                self._ask(pid, signal.SIGTERM, process_tree.send)

    def orphan_ended(self, record: int, pid: int, status: int) -> None:
        """Take notice that an orphan has ended, which may be a rank of an engine."""
        from accel_launch.running.guardian import orphans

        orphans.note(record, pid, status, decided=self.ordered)

    def kill(self) -> None:
        """Kill everything at once."""
        self.stopping = True
        self.deadline = time.monotonic()
        process_tree.kill_tree(self.pid, self.children.reap, session=self.pid)

    def leftovers(self) -> Mapping[int, process_tree.Facts]:
        """Return all processes below the guardian but daemons that are left running on purpose."""
        found = process_tree.descendants(self.pid, session=self.pid)
        if not calls.ADOPTS:
            self.children.follow(found)
        return found
