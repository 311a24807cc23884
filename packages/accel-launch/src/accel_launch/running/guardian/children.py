"""The guardian's children, and the order in which they die."""

from __future__ import annotations

import os

from accel_launch.machine import process_tree
from accel_launch.ranks.signals import signal, waker
from accel_launch.ranks.system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from accel_launch.ranks.tool import Below


class Children:
    """Waits for children: ranks, the fork server, and orphans that the guardian has adopted."""

    def __init__(self, ended: Callable[[int, int], None]) -> None:
        """Prepare to wait; ``ended`` is called with the pid and the wait status of each child that has died."""
        self.ended = ended
        self.ranks: dict[int, int] = {}
        """The ranks that run, by pid."""
        self.below: dict[int, Below] = {}
        """Ranks that aren't our children, by pid: those below tools, and those of a fork server that stays."""
        self.fork_server: int | None = None
        """The pid of the process that imports modules for all ranks, as long as it runs."""
        self.watched: dict[int, int] = {}
        """The pid behind each pidfd."""
        self.wake = waker()
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self.poller = calls.waiting()
        self.poller.register(self.wake, calls.READABLE)

    def watch(self, pid: int) -> None:
        """Notice the death of a child, or of a rank below one, in a process group of its own.

        Raises:
            OSError: the kernel can't watch it.
        """
        try:
            os.setpgid(pid, pid)  # the process does so too; whichever comes first
        except OSError:
            pass
        self.register(self.below[pid].fd if pid in self.below else calls.open_handle(pid), pid)

    def register(self, fd: int, pid: int) -> None:
        """Watch a process by its pidfd."""
        self.watched[fd] = pid
        self.poller.register(fd, calls.READABLE)

    def follow(self, pids: Iterable[int]) -> None:
        """Notice the deaths of others, which may be nobody's children here."""
        for pid in {*pids} - {*self.watched.values()}:
            try:
                self.register(calls.open_handle(pid), pid)
            except OSError:
                continue  # it has ended

    def send(self, pid: int, number: int) -> None:
        """Send a signal to a rank."""
        if pid in self.below:
            self.below[pid].send(number)
        else:
            process_tree.send(pid, number)  # ours: no other process can have its pid

    def wait(self, timeout: float) -> list[int]:
        """Wait for something to happen, collect watched children that have died, and return the ready descriptors."""
        # The kernel queues descriptors in the order in which they became ready: the order of the ranks' deaths.
        ready = [fd for fd, _events in self.poller.poll(timeout)]
        for fd in ready:
            if fd in self.watched:
                self._collect(fd)
        if self.wake in ready:
            os.read(self.wake, 4096)
        return ready

    def _collect(self, fd: int) -> None:
        pid = self.watched.pop(fd)
        self.poller.unregister(fd)
        if pid in self.below:
            below = self.below[pid]
            below.ended = below.status()
            self.ended(pid, below.ended or 0)
            os.close(fd)
            return
        os.close(fd)
        if pid in self.ranks or pid == self.fork_server:
            _pid, status = os.waitpid(pid, 0)
            self.ended(pid, status)

    def reap(self) -> bool:
        """Collect every child that has died; return whether any child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self.ended(pid, status)
