"""The guardian's loop: wait for deaths and orders, and act on them."""

from __future__ import annotations

import os
import time

from accel_config.errors import LATER
from accel_launch.machine import process_tree
from accel_launch.ranks.signals import ENDING, PASSED_ON, signal
from accel_launch.ranks.system import calls
from accel_launch.ranks.system.prctl import PR_SET_NAME, prctl
from accel_launch.running.guardian.children import Children
from accel_launch.running.guardian.events import Events
from accel_launch.running.guardian.forwarding import Forwarder
from accel_launch.running.guardian.orders import ASIDE, HOLD, KILL, OVER, RELEASE, STOP
from accel_launch.running.guardian.starting import Starter
from accel_launch.running.guardian.teardown import LONGEST, Teardown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from accel_launch.running.guardian.preloading.preloader import Preloader
    from accel_launch.running.guardian.workload import Workload

AGAIN = 1.0  # seconds between two looks at whether a launcher whose caller has gone was stopped
LOOKING = 10.0  # seconds that the launcher may hold up the end of the ranks after a failure
HEARING = 1.0  # seconds for the launcher to see whether it has to: to read what the rank has printed


class Guardian:
    """Starts the ranks and brings every one of them, and all processes below them, to an end."""

    def __init__(self, work: Workload, orders: int, events: int) -> None:
        """Take what to run, and the guardian's ends of the two pipes."""
        self.work, self.orders, self.events = work, orders, Events(events)
        self.held = 0.0
        """Until when the others live on if a rank fails, in monotonic seconds: the launcher looks at them."""
        self.deserted: float | None = None
        """When to look again at the launcher, once its caller has gone, in monotonic seconds."""
        self.preloader: Preloader | None = None
        """What starts ranks where modules are imported for all of them."""
        self.failed = False
        """Whether one has failed meanwhile."""
        self.noticed = False
        """Whether a signal has announced the end, so that ranks save and ask to be queued again."""
        self.patience: float | None = None
        """Until when the others may end by themselves after a rank that asks so without a notice, in monotonic
        seconds."""

    def run(self) -> NoReturn:
        """Do all of it, then leave without running any code of the launcher that forked us."""
        status = 1
        try:
            self._prepare()
            (self.preloader or self.starter).start()
            while self._step():
                pass
            self.work.tidy()
            self.events.send("done")
            status = 0
        finally:
            os._exit(status)

    def _prepare(self) -> None:
        if self.work.forked is None:
            os.setsid()
        prctl(PR_SET_NAME, b"accel-guardian")
        process_tree.adopt_orphans()
        for number in PASSED_ON:
            if number != signal.SIGCONT:
                signal.signal(number, signal.SIG_IGN)
        if not calls.ADOPTS:
            self.events.send("guardian", os.getpid())
        self.children = Children(self._ended)
        self.children.poller.register(self.orders, calls.READABLE)
        if self.work.caller is not None:
            try:
                self.children.poller.register(self.work.caller, calls.HUNG_UP)
            except OSError:  # what isn't a pipe or socket has no end
                pass
        self.teardown = Teardown(self.children, self.events, self.work)
        self.starter = Starter(self.work, self.children, self.events, self.teardown)
        if self.work.preload or self.work.forked:
            from accel_launch.running.guardian.preloading.preloader import Preloader

            self.preloader = Preloader(self.starter)
        self.forwarder = Forwarder(self.children, self.work.record)

    def _step(self) -> bool:
        """Wait for something to happen and act on it; return False when no process is left."""
        ready = self.children.wait(self._timeout())
        if self.orders in ready and not self._obey():
            return False
        if self.work.caller in ready and self.deserted is None:
            self.deserted = time.monotonic()
        if self.deserted is not None and self.deserted <= time.monotonic() and self._abandoned():
            return False
        if self.failed and time.monotonic() >= self.held:
            self._stop_after_failure()
        if self.patience is not None and time.monotonic() >= self.patience:
            self.patience = None
            self._stop_after_failure()
        if self.starter.tools is not None:
            self.starter.tools.hear(ready)
        if self.preloader is not None and self.preloader.hear(ready):
            self.forwarder.pass_on_early()
        some_left = self.children.reap()
        if (some_left or not calls.ADOPTS) and not self.children.ranks and self.children.fork_server is None:
            some_left = bool(self.teardown.leftovers())
        if self.children.ranks or some_left:
            self.teardown.advance(some_left=some_left)
        return bool(self.children.ranks) or some_left

    def _abandoned(self) -> bool:
        """Return whether nobody is left: the caller has gone, and the launcher, which would notice, was stopped.

        It may be stopped just then, before it has noticed.
        """
        if self.work.caller is not None:
            try:
                self.children.poller.unregister(self.work.caller)
            except OSError:  # it was unregistered the first time
                pass
        self.deserted = time.monotonic() + AGAIN
        if not process_tree.stopped(self.work.launcher):
            return False
        self.teardown.kill()
        process_tree.send(self.work.launcher, signal.SIGKILL)
        self.work.tidy(alone=True)
        return True

    def _timeout(self) -> float:
        """Return the seconds until something is due, a day at most; -1 if nothing is."""
        dues = (self.held if self.failed else None, self.patience, self.deserted)
        left = [min(LONGEST, max(0.0, at - time.monotonic())) for at in dues if at is not None]
        return min([self.teardown.timeout, *left], key=lambda seconds: seconds if seconds >= 0 else LONGEST)

    def _ended(self, pid: int, status: int) -> None:
        """Act on the death of a child; an orphan's means nothing, unless it is a rank of an engine."""
        rank = self.children.ranks.pop(pid, None)
        if self.starter.tools is not None:
            rank, status = self.starter.tools.ended(pid, rank, status)
        if rank is not None:
            self._rank_ended(rank, status)
        elif pid == self.children.fork_server:
            if self.preloader is not None:
                self.preloader.take_over(status)
            self.forwarder.pass_on_early()
        elif self.work.record is not None:
            self.teardown.orphan_ended(self.work.record, pid, status)

    def _rank_ended(self, rank: int, status: int) -> None:
        for line in self.starter.start_failures():
            self.events.send("unstarted", line)
        self.events.send("ended", rank, status, time.time())
        if status == 0 or not self.work.together or self.teardown.stopping:
            return
        if os.waitstatus_to_exitcode(status) != LATER:
            if not process_tree.stopped(self.work.launcher):
                self.held = max(self.held, time.monotonic() + HEARING)
            self._stop_after_failure()
        elif self.children.ranks and not self.noticed and self.patience is None:
            self.patience = time.monotonic() + self.work.grace

    def _stop_after_failure(self) -> None:
        """Terminate the ranks, unless the launcher needs them for another moment."""
        self.failed = time.monotonic() < self.held
        if not self.failed and not self.teardown.stopping:
            self.teardown.stop(signal.SIGTERM)

    def _obey(self) -> bool:
        """Carry out the launcher's orders; return False if it is dead, and everything has been killed."""
        for order in os.read(self.orders, 64) or [None]:
            if order is None or order == KILL:
                self.teardown.kill()
                self.work.tidy(alone=order is None)
                return order is not None
            if order in (HOLD, RELEASE):
                self.held = time.monotonic() + LOOKING if order == HOLD else 0.0
            elif order == ASIDE:
                self.forwarder.interrupt(self.work.debugged)
            elif order == OVER:
                self.teardown.end_grace()
            elif order in (STOP, *ENDING):
                self.teardown.end_by(order)
            else:
                self.noticed = self.noticed or order == signal.SIGUSR1
                self.forwarder.pass_on(order)
        return True
