"""How the guardian starts ranks from one process that imports modules for all of them."""

from __future__ import annotations

import os

from accel_launch.machine import process_tree
from accel_launch.ranks.system import calls
from accel_launch.ranks.system.prctl import bind
from accel_launch.running.guardian.preloading.fork_server import ForkServer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from accel_launch.running.guardian.starting import Starter
    from accel_launch.running.guardian.workload import Forked


class Preloader:
    """Starts the fork server, and takes over the ranks that it has forked."""

    def __init__(self, starter: Starter) -> None:
        """Take the starter, which starts the ranks one by one if they can't be forked."""
        self.starter, self.work, self.children = starter, starter.work, starter.children
        self.fork_server: ForkServer | None = None

    def start(self) -> None:
        """Start the fork server; the ranks run once it has ended, or at once if they are there."""
        if self.work.forked is not None:
            self._take(self.work.forked)
            return
        if len({(spawn.argv, spawn.cwd) for spawn in self.work.spawns}) > 1:
            self._start_plainly(["not preloaded: the commands differ, so no process can become all of them"])
            return
        try:
            fork_server = ForkServer(self.work.spawns, self.work.preload, self.work.launcher, self.work.parked)
            pid = self.starter.fork(fork_server.spawn(), prepare=fork_server.hand_over)
            fork_server.started(pid)
            if self.work.parked >= 0:
                os.close(self.work.parked)
            self.children.watch(pid)
            if not calls.ADOPTS:
                self.children.poller.register(fork_server.events, calls.READABLE)
        except OSError as error:
            self._start_plainly([f"not preloaded: {error.strerror}; each rank imports for itself"])
        else:
            self.fork_server, self.children.fork_server = fork_server, pid

    def hear(self, ready: Container[int]) -> bool:
        """Take over the ranks of a fork server that stays their parent; return whether it has just forked them."""
        fork_server = self.fork_server
        if fork_server is None or fork_server.events not in ready:
            return False
        ended = not fork_server.hear()
        if ended or fork_server.stays():
            self.children.poller.unregister(fork_server.events)
        if ended or not fork_server.stays():
            return False
        self.starter.teardown.asked.add(fork_server.pid)  # nobody asks it to end: it does after its ranks
        self.take_over(0)
        return True

    def take_over(self, status: int) -> None:
        """Take over the forked ranks, our children if the fork server has ended; or start the ranks plainly."""
        fork_server, self.fork_server, self.children.fork_server = self.fork_server, None, None
        if fork_server is None:
            return
        self.starter.start_failures()  # if the interpreter can't be started, the ranks will report it
        pids, notes = fork_server.ended(status)
        if self.starter.teardown.stopping:
            self.starter.let_go()
        elif pids:
            self._report(notes)
            self._adopt(pids, fork_server.opening, fork_server if fork_server.stays() else None)
        else:
            self._start_plainly(notes)
        fork_server.close()

    def _start_plainly(self, notes: list[str]) -> None:
        self._report(notes)
        process_tree.kill_tree(
            self.starter.pid, self.children.reap, session=self.starter.pid
        )  # imports may have left processes behind
        self.starter.start()

    def _take(self, forked: Forked) -> None:
        """Take ranks that were forked before we became the guardian."""
        if forked.pids:
            self._adopt(forked.pids, forked.opening)
            os.close(forked.opening)
        else:
            os.close(forked.opening)
            self._start_plainly([f"not preloaded: {forked.why}; each rank imports for itself"])

    def _adopt(self, pids: Sequence[int], opening: int, parent: ForkServer | None = None) -> None:
        for spawn, pid in zip(self.work.spawns, pids, strict=True):
            self._report(bind(spawn.cpus, pid).splitlines())
            try:
                if parent is not None:
                    from accel_launch.running.guardian.preloading.kept import Kept

                    self.children.below[pid] = Kept(pid, spawn.rank, parent, self.starter.events)
                self.starter.enlist(spawn.rank, pid)
            except OSError as error:
                self.starter.unstarted(spawn.rank, error)
                break
        else:
            os.write(opening, b"." * len(pids))  # they are there, and go on
        self.starter.let_go()

    def _report(self, notes: list[str]) -> None:
        for note in notes:
            self.starter.events.send("note", note)
