"""How the guardian starts ranks, one by one."""

from __future__ import annotations

import os

from accel_launch.ranks.signals import PASSED_ON, sent_to_all, signal
from accel_launch.ranks.system import calls
from accel_launch.ranks.system.prctl import bind_here, die_with, let_read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from accel_launch.ranks.tool import Below
    from accel_launch.running.guardian.children import Children
    from accel_launch.running.guardian.events import Events
    from accel_launch.running.guardian.teardown import Teardown
    from accel_launch.running.guardian.tools import Tools
    from accel_launch.running.guardian.workload import Spawn, Workload


class Starter:
    """Forks ranks, and reports those that can't be started."""

    def __init__(self, work: Workload, children: Children, events: Events, teardown: Teardown) -> None:
        """Take what to start."""
        self.work, self.children, self.events, self.teardown = work, children, events, teardown
        self.tools: Tools | None = None
        """Those that stand before ranks."""
        if any(spawn.tooled for spawn in work.spawns):
            from accel_launch.running.guardian.tools import Tools

            self.tools = Tools(children, events, teardown)
        self.pid, self.marks = os.getpid(), calls.marks()
        self.failures, self.failing = os.pipe()
        os.set_blocking(self.failures, False)

    def start(self) -> None:
        """Start each rank; if the system refuses one, kill those that were started."""
        refused: tuple[int, OSError] | None = None
        below: Below | None = None
        for spawn in self.work.spawns:
            below = None
            try:
                below = self.tools.below() if self.tools is not None and spawn.tooled else None
                pid = self.fork(spawn, below)
                if self.tools is not None and below is not None:
                    self.tools.enlist(spawn.rank, pid, below)
                else:
                    self.enlist(spawn.rank, pid)
            except OSError as error:
                refused = spawn.rank, error
                break
        self.let_go()
        if refused is not None:
            self.unstarted(*refused)  # to kill takes descriptors
            if below is not None:
                below.close()

    def enlist(self, rank: int, pid: int) -> None:
        """Watch a rank that runs, and report it.

        Raises:
            OSError: the kernel can't watch it.
        """
        self.children.ranks[pid] = rank
        self.children.watch(pid)
        self.events.send("started", rank, pid)

    def unstarted(self, rank: int, error: OSError) -> None:
        """Report a rank that the system refuses to start, and kill all others."""
        self.events.send("unstarted", rank, f"the system starts no more processes: {error.strerror}")
        self.teardown.kill()

    def fork(self, spawn: Spawn, below: Below | None = None, prepare: Callable[[], object] = lambda: None) -> int:
        """Start a rank, or what forks all of them; ``prepare`` is called in the fork.

        We ignore signals, so one that comes before the fork has the rank's own dispositions would be lost; it waits.

        Raises:
            OSError: the system has no process left.
        """
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        try:
            pid = os.fork()
            if pid == 0:
                prepare()
                self._become(spawn, below)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
        return pid

    def let_go(self) -> None:
        """Close the descriptors that only the ranks need."""
        for fd in {fd for spawn in self.work.spawns for fd in spawn.streams}:
            os.close(fd)
        os.close(self.failing)

    def start_failures(self) -> list[str]:
        """Return the messages of forks that couldn't become their rank."""
        try:
            return os.read(self.failures, 65536).decode(errors="replace").split("\n")[:-1]
        except OSError:
            return []

    def _become(self, spawn: Spawn, below: Below | None = None) -> NoReturn:
        """Turn this fork into the rank."""
        status = 126
        try:
            die_with(self.pid)
            let_read(self.work.launcher)
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            # An engine would die of a signal that a scheduler sends to all; a rank's parent undoes this for its rank.
            doubled = () if self.work.record is None else sent_to_all(os.environ)
            ignored = self.work.ignored.union(doubled)
            for number in (*PASSED_ON, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
            for target, fd in enumerate(spawn.streams):
                os.dup2(fd, target, inheritable=True)
            bind_here(spawn.cpus)
            if spawn.cwd is not None:
                os.chdir(spawn.cwd)
            words = spawn.argv if below is None else below.named(spawn.argv)
            os.execvpe(words[0], words, {**spawn.environ, **self.marks})
        except OSError as error:
            status = 127 if isinstance(error, FileNotFoundError) else 126
            name = spawn.argv[0].replace("\n", " ")
            os.write(self.failing, f"{spawn.rank} {name}: {error.strerror}\n".encode(errors="replace"))
        finally:
            os._exit(status)
