"""The guardian as the launcher, its parent, sees it."""

from __future__ import annotations

import os
import time

from accel_launch.machine import forks, process_tree
from accel_launch.ranks.signals import signal
from accel_launch.ranks.system import calls
from accel_launch.running.guardian.guardian import Guardian

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from accel_launch.running.attempts.preparation import Preparation
    from accel_launch.running.guardian.preloading.parked import Parked
    from accel_launch.running.guardian.workload import Workload
    from accel_launch.running.report.records import Ending


class GuardianHandle:
    """Forks the guardian of each attempt; at its end, terminates the processes that it left behind.

    The launcher itself adopts what a guardian that was killed leaves. A launcher that would adopt strangers' orphans
    too couldn't tell them apart, so a keeper adopts instead: as pid 1 of a container, and with children from before,
    such as a service that a shell started before it became the launcher.
    """

    def __init__(self, caller: int | None) -> None:
        """Adopt orphans from now on, unless a keeper will; ``caller`` is the pipe from the launcher's caller."""
        self.caller = caller
        self.first = os.getpid() == 1
        self.apart = self.first or not calls.ADOPTS or calls.has_children()
        self.pid = 0
        self.reported: int | None = None
        """The descriptor by which we learn how a guardian ended that isn't our child."""
        if not self.apart:
            process_tree.adopt_orphans()

    def fork(self, work: Workload, preparation: Preparation, parked: Parked | None, others: Iterable[int]) -> None:
        """Fork the guardian, or its keeper, with what was prepared for it, and without ``others`` of our descriptors.

        A ``parked`` process starts it instead, if there is one; else the guardian's fork server leaves one behind.

        Raises:
            OSError: the system refuses a process.
        """
        self.work = work = work.replace(launcher=os.getpid(), caller=self.caller)
        try:
            self.reported = None if parked is None else parked.start(work, preparation)
        except OSError:
            self.reported = None  # a guardian of our own will report what is missing
        if self.reported is not None:
            preparation.close_guardians_ends()
            return
        if parked is not None:
            parked.offer()
            work = work.replace(parked=parked.spare)
        self.pid = os.fork()
        if self.pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            preparation.close_our_ends(others if parked is None else (*others, parked.descriptor))
            if self.apart:
                from accel_launch.running.guardian.keeper import keep

                keep(work)
            Guardian(work, preparation.guardians_orders, preparation.guardians_events).run()
        preparation.close_guardians_ends()
        if parked is not None:
            parked.handed_over()
        if self.first:
            signal.signal(signal.SIGCHLD, lambda _number, _frame: self._collect_strangers())
            self._collect_strangers()

    def wake(self) -> None:
        """Let it go on if it was stopped, so that it carries out its orders."""
        if self.reported is None:
            process_tree.send(self.pid, signal.SIGCONT)

    def collect(self, session: int = 0) -> Ending | None:
        """Wait for the guardian's end and kill what it left; return how it ended, None for exit status 0.

        ``session`` is its pid, if what it left is found by that: its keeper may have been killed with it.
        """
        self.pid, status = os.waitpid(self.pid, 0) if self.reported is None else self._report(self.reported)
        at = time.time()
        if not self.apart:
            process_tree.kill_tree(os.getpid(), process_tree.reap, session=self.pid)
        if not status:
            return None
        from accel_launch.running.report.records import Ending

        if session and session not in calls.processes():
            process_tree.kill_tree(session, lambda: False, session=session)
        self.work.tidy()
        return Ending.from_wait_status(-1, -1, self.pid, status, at)

    def _report(self, reported: int) -> tuple[int, int]:
        """Return the guardian's pid and wait status when its keeper reports them; SIGKILL's if that is gone."""
        self.reported, text = None, b""
        while data := os.read(reported, 64):
            text += data
        os.close(reported)
        pid, _, status = text.partition(b" ")
        return int(pid or 0), int(status or signal.SIGKILL)

    def _collect_strangers(self) -> None:
        """As pid 1, collect orphans as they die: nobody else does."""
        for pid in process_tree.children(os.getpid()):
            if pid != self.pid and pid not in forks.ours:
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    continue
