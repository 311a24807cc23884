"""The process between the launcher and its ranks: it starts them, watches them, and ends them.

It leads a session of its own, so that the terminal's signals reach the launcher alone, which passes them on once. It
adopts every orphan below it, so nothing that a rank starts gets away. It goes on when the launcher dies, just long
enough to end everything; and when it dies itself, the ranks die with it (PDEATHSIG) and the launcher adopts the rest.

Orders come down a pipe, a byte each: a signal's number to pass on, or one of those below. Events go up another, a
line each: ``started RANK PID``, ``ended RANK WAITSTATUS TIME``, ``unstarted RANK MESSAGE``, ``left PID WHAT``,
``note TEXT``, ``done``.
"""

from __future__ import annotations

import os
import select
import signal
import time

from accel_config.record import Record

from . import processes
from .nursery import Nursery

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

STOP, KILL = 254, 255
"""Orders beside signal numbers: end the ranks as after a failure, and end them at once."""
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
PASSED_ON = (*ENDING, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT, signal.SIGTSTP)
LAST_MOMENTS = 5.0  # seconds that what a successful script left behind gets between SIGTERM and SIGKILL


class Spawn(Record):
    """A rank as the guardian starts it."""

    rank: int
    argv: tuple[str, ...]
    environ: dict[str, str]
    cwd: str | None
    streams: tuple[int, int, int]
    """File descriptors for its standard input, output and error."""


class Guardian:
    """Starts the ranks and brings every one of them, and all below them, to an end."""

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        spawns: tuple[Spawn, ...],
        orders: int,
        events: int,
        grace: float,
        ignored: frozenset[int],
        record: int | None = None,
        *,
        together: bool = True,
        preload: tuple[str, ...] = (),
    ) -> None:
        """Take what to start, the two pipes, the seconds of grace, and the signals ignored from the start.

        ``record`` is where the ranks of an engine tell who they are; see `accel_launch.rank`. ``together``: when one
        of the ranks fails, the others are ended. ``preload``: modules to import once, before the ranks are forked.
        """
        self.record, self.together, self.preload = record, together, preload
        self.spawns, self.orders, self.events, self.grace, self.ignored = spawns, orders, events, grace, ignored
        self.pid = os.getpid()
        self.ranks: dict[int, int] = {}
        self.watched: dict[int, int] = {}
        self.asked: set[int] = set()
        self.nursery: Nursery | None = None
        self.early: list[int] = []
        """Signals for ranks that are still to be forked."""
        self.stopping = False
        self.lingering = False
        self.ending = 0
        self.deadline: float | None = None

    def run(self) -> NoReturn:
        """Do it all, then leave without running anything of the launcher's that forked us."""
        status = 1
        try:
            self._prepare()
            self._start()
            while self._step():
                pass
            self._event("done")
            status = 0
        finally:
            os._exit(status)

    def _prepare(self) -> None:
        os.setsid()
        processes.prctl(processes.PR_SET_NAME, b"accel-guardian")
        processes.adopt_orphans()
        for number in PASSED_ON:
            if number != signal.SIGCONT:
                signal.signal(number, signal.SIG_IGN)
        self.wake, wakes = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self.failures, self.failing = os.pipe()
        os.set_blocking(self.failures, False)
        self.poller = select.epoll()
        self.poller.register(self.orders, select.EPOLLIN)
        self.poller.register(self.wake, select.EPOLLIN)

    def _event(self, *words: object) -> None:
        try:
            os.write(self.events, (" ".join(map(str, words)).replace("\n", " ") + "\n").encode(errors="replace"))
        except OSError:
            pass  # the launcher is gone, and the orders' pipe will say so

    # Starting.

    def _start(self) -> None:
        if self.preload:
            self._nurse()
        else:
            self._start_each()

    def _start_each(self) -> None:
        for spawn in self.spawns:
            try:
                pid = os.fork()
                if pid == 0:
                    self._become(spawn)
                self._enlist(spawn.rank, pid)
            except OSError as error:
                self._unstarted(spawn.rank, error)
                break
        self._started()

    def _unstarted(self, rank: int, error: OSError) -> None:
        self._event("unstarted", rank, f"the system starts no more processes: {error.strerror}")
        self._kill()

    def _started(self) -> None:
        """Let go of what only the ranks need."""
        for fd in {fd for spawn in self.spawns for fd in spawn.streams}:
            os.close(fd)
        os.close(self.failing)

    def _enlist(self, rank: int, pid: int) -> None:
        self.ranks[pid] = rank
        self._watch(pid)
        self._event("started", rank, pid)

    def _watch(self, pid: int) -> None:
        try:
            os.setpgid(pid, pid)  # the process does so too; whoever is first
        except OSError:
            pass
        fd = os.pidfd_open(pid)
        self.watched[fd] = pid
        self.poller.register(fd, select.EPOLLIN)

    def _nurse(self) -> None:
        """Start the process that imports for all; the ranks are there when it has ended."""
        if len({(spawn.argv, spawn.cwd) for spawn in self.spawns}) > 1:
            self._start_plainly(["not preloaded: the commands differ, so no process can become all of them"])
            return
        try:
            nursery = Nursery(self.spawns, self.preload)
            nursery.pid = os.fork()
            if nursery.pid == 0:
                nursery.hand_over()
                self._become(nursery.spawn())
            self._watch(nursery.pid)
        except OSError as error:
            self._start_plainly([f"not preloaded: {error.strerror}; each rank imports for itself"])
        else:
            self.nursery = nursery

    def _start_plainly(self, notes: list[str]) -> None:
        """Start the ranks one by one after all."""
        for note in notes:
            self._event("note", note)
        processes.end_tree(self.pid, self._reap)  # what the imports left behind
        self._start_each()

    def _hatch(self, nursery: Nursery, status: int) -> None:
        """Take over the ranks that were forked, which are our children now; or start them plainly."""
        self.nursery = None
        self._start_failures()  # if the interpreter can't be started, the ranks say so
        pids, notes = nursery.ended(status)
        if self.stopping:
            self._started()
        elif pids:
            self._adopt(nursery, pids, notes)
        else:
            self._start_plainly(notes)
        nursery.close()
        for number in self.early:
            self._pass_on(number)

    def _adopt(self, nursery: Nursery, pids: list[int], notes: list[str]) -> None:
        for note in notes:
            self._event("note", note)
        for spawn, pid in zip(self.spawns, pids, strict=True):
            try:
                self._enlist(spawn.rank, pid)
            except OSError as error:
                self._unstarted(spawn.rank, error)
                break
        else:
            nursery.let_go()
        self._started()

    def _become(self, spawn: Spawn) -> NoReturn:
        """Turn this fork into the rank."""
        status = 126
        try:
            processes.die_with(self.pid)
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            # An engine would die of what a scheduler sends to all; a rank's parent undoes this for its rank.
            ignored = self.ignored if self.record is None else self.ignored | processes.sent_to_all(os.environ)
            for number in (*PASSED_ON, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
            for target, fd in enumerate(spawn.streams):
                os.dup2(fd, target, inheritable=True)
            if spawn.cwd is not None:
                os.chdir(spawn.cwd)
            os.execvpe(spawn.argv[0], spawn.argv, spawn.environ)
        except OSError as error:
            status = 127 if isinstance(error, FileNotFoundError) else 126
            message = f"{spawn.rank} {spawn.argv[0]}: {error.strerror}\n"
            os.write(self.failing, message.encode(errors="replace"))
        finally:
            os._exit(status)

    # Watching.

    def _step(self) -> bool:
        """Wait for something to happen and act on it; False when nothing is left."""
        timeout = -1.0 if self.deadline is None else max(0.0, self.deadline - time.monotonic())
        # The kernel queues descriptors in the order in which they became ready: the order of the ranks' deaths.
        ready = [fd for fd, _events in self.poller.poll(timeout)]
        for fd in ready:
            if fd in self.watched:
                self._ended(fd)
        if self.wake in ready:
            os.read(self.wake, 4096)
        if self.orders in ready and not self._obey():
            return False
        some_left = self._reap()
        if self.ranks or some_left:
            self._advance(some_left)
        return bool(self.ranks) or some_left

    def _ended(self, fd: int) -> None:
        pid = self.watched.pop(fd)
        self.poller.unregister(fd)
        os.close(fd)
        if pid in self.ranks or self._nursing(pid):
            _pid, status = os.waitpid(pid, 0)
            self._collected(pid, status)

    def _nursing(self, pid: int) -> bool:
        return self.nursery is not None and self.nursery.pid == pid

    def _collected(self, pid: int, status: int) -> None:
        if pid in self.ranks:
            self._record(pid, status)
        elif self.nursery is not None and self.nursery.pid == pid:
            self._hatch(self.nursery, status)

    def _record(self, pid: int, status: int) -> None:
        rank = self.ranks.pop(pid)
        for line in self._start_failures():
            self._event("unstarted", line)
        self._event("ended", rank, status, time.time())
        if status != 0 and self.together and not self.stopping:
            self._stop(signal.SIGTERM)

    def _start_failures(self) -> list[str]:
        try:
            return os.read(self.failures, 65536).decode(errors="replace").splitlines()
        except OSError:
            return []

    def _reap(self) -> bool:
        """Collect what has ended; return whether any child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self._collected(pid, status)

    def _obey(self) -> bool:
        """Carry out what the launcher orders; False when it is dead, and everything has been ended."""
        for order in os.read(self.orders, 64) or [None]:
            if order is None or order == KILL:
                self._kill()
                return order is not None
            if order == STOP:
                self._stop(signal.SIGTERM)
            elif order in ENDING:
                self._end_by(order)
            else:
                self._pass_on(order)
        return True

    def _end_by(self, number: int) -> None:
        """Pass on a signal that ends the run; a second one ends it at once (a terminal that closes sends two)."""
        self.ending += 1
        if self.ending > 1 and number != signal.SIGHUP:
            self._kill()
        elif self.ending == 1:
            self._stop(number)

    def _pass_on(self, number: int) -> None:
        if number in processes.sent_to_all(os.environ):
            return
        pauses = number in (signal.SIGTSTP, signal.SIGCONT)
        if self.nursery is not None and not pauses:
            self.early.append(number)
            return
        for pid in self._told():
            if pauses and self.record is None:
                try:
                    os.killpg(pid, number)
                except (ProcessLookupError, PermissionError):
                    continue
            else:
                processes.tell(pid, number)

    def _told(self) -> list[int]:
        """Return whom a signal that ends nothing is for: the ranks, not an engine that would die of it."""
        if self.nursery is not None:
            return [self.nursery.pid]
        if self.record is None:
            return list(self.ranks)
        text = os.pread(self.record, 1 << 20, 0).decode(errors="replace")
        words = [line.split(" ") for line in text.splitlines()]
        below = set(processes.descendants(self.pid))
        return [int(line[4]) for line in words if line[0] == "started" and int(line[4]) in below]

    # Ending.

    def _stop(self, number: int) -> None:
        """Ask every rank to end, and give it the grace to."""
        self.stopping = True
        if self.nursery is not None:
            processes.tell(self.nursery.pid, signal.SIGKILL)
        for pid in self.ranks:
            processes.tell(pid, number)
            processes.tell(pid, signal.SIGCONT)
        if self.deadline is None or self.lingering:
            self.deadline = time.monotonic() + self.grace
        self.lingering = False

    def _advance(self, some_left: bool) -> None:
        """Look after what ranks left behind, and end what outstays its time."""
        left = some_left and not self.ranks and self.nursery is None
        if left and not self.stopping and self.deadline is None:
            self.lingering = True
            self.deadline = time.monotonic() + self.grace
        if self.stopping:
            self._ask_the_left()
        if self.deadline is None or time.monotonic() < self.deadline:
            return
        if self.lingering:
            for pid in processes.descendants(self.pid):
                self._event("left", pid, processes.title(pid))
            self.lingering, self.stopping = False, True
            self.deadline = time.monotonic() + min(self.grace, LAST_MOMENTS)
            self._ask_the_left()
        else:
            self._kill()

    def _ask_the_left(self) -> None:
        """Ask what ended ranks left behind to end as well: it is our child now."""
        for pid in processes.children().get(self.pid, []):
            if pid not in self.ranks and pid not in self.asked:
                self.asked.add(pid)
                processes.tell(pid, signal.SIGTERM)
                processes.tell(pid, signal.SIGCONT)

    def _kill(self) -> None:
        self.stopping = True
        self.deadline = time.monotonic()
        processes.end_tree(self.pid, self._reap)
