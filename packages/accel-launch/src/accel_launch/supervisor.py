"""The launcher while it looks after ranks: signals down to the guardian, output and events up, one status."""

from __future__ import annotations

import os
import select
import signal
import time

from . import processes
from .guardian import ENDING, KILL, PASSED_ON, STOP, Guardian, Spawn
from .output import Pump, secure_streams
from .report import Ending, Result, memory_kills

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    from .plan import Plan

DRAIN = 1.0  # seconds without progress after which output that nobody can be writing any more is given up


def supervise(plan: Plan) -> Result:
    """Run the plan's commands to their end and return how it was; only in the main thread of a process of ours."""
    return _Supervisor(plan).run()


class _Supervisor:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.endings: list[Ending] = []
        self.pids: dict[int, int] = {}
        self.unstarted: list[str] = []
        self.notes: list[str] = []
        self.signalled = 0
        self.done = False
        self.stopped = False
        self.kills = memory_kills()

    def run(self) -> Result:
        secure_streams()
        self.own = set(processes.children().get(os.getpid(), []))
        processes.adopt_orphans()
        self.pump = Pump()
        self.error_files = [_error_file() for _command in self.plan.commands]
        orders, self.orders = os.pipe()
        self.events, events = os.pipe()
        ignored = frozenset(n for n in PASSED_ON if signal.getsignal(n) == signal.SIG_IGN)
        stdin, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
        spawns = tuple(self._spawn(place, stdin, nothing) for place in range(len(self.plan.commands)))
        self._catch(ignored)
        self.guardian = os.fork()
        if self.guardian == 0:
            for fd in (self.orders, self.events, *self.pump.channels):
                os.close(fd)
            Guardian(spawns, orders, events, self.plan.grace, ignored).run()
        for fd in (orders, events, stdin, nothing):
            os.close(fd)
        self.pump.keep()
        self._carry()
        self._collect()
        self._release()
        return self._result()

    def _spawn(self, place: int, stdin: int, nothing: int) -> Spawn:
        command = self.plan.commands[place]
        environ = {**os.environ, **command.env}
        if len(self.plan.commands) > 1 or "RANK" in command.env:
            path = self.error_files[place]
            if path is not None:
                environ["TORCHELASTIC_ERROR_FILE"] = f"/proc/{os.getpid()}/fd/{path}"
        out, err = self.pump.attach(command.rank or 0)
        rank = command.rank or 0
        return Spawn(rank, command.argv, environ, command.cwd, (stdin if rank == 0 else nothing, out, err))

    # Signals.

    def _catch(self, ignored: frozenset[int]) -> None:
        self.before = {n: signal.getsignal(n) for n in (*PASSED_ON, signal.SIGWINCH) if n not in ignored}
        for number in self.before:
            signal.signal(number, self._signal)

    def _signal(self, number: int, _frame: FrameType | None) -> None:
        """Act at once: a write to a slow reader may be what the main loop is waiting for."""
        if number == signal.SIGWINCH:
            self.pump.resize()
            return
        if number in ENDING and not self.signalled and not self._failed():
            self.signalled = number
        self._order(number)
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    def _order(self, order: int) -> None:
        try:
            os.write(self.orders, bytes([order]))
        except OSError:
            pass  # the guardian is gone, and its events' end will say so

    def _release(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _failed(self) -> bool:
        return any(ending.status for ending in self.endings)

    # The loop.

    def _carry(self) -> None:
        """Carry output and events until the guardian is gone and everything the ranks wrote is out."""
        self.poller = select.poll()
        self.poller.register(self.events, select.POLLIN)
        listening = True
        self.moved = time.monotonic()
        while listening or ((self.pump.channels or self.pump.waiting) and time.monotonic() < self.moved + DRAIN):
            self.pump.register(self.poller)
            ready = self._wait(listening)
            if self.events in ready and not self._heard():
                self.poller.unregister(self.events)
                listening = False
                self._collect()
            self.pump.handle(self.poller, ready)
            if self.pump.gone and not self.stopped:
                self.stopped = True
                self._order(STOP)
        for channel in list(self.pump.channels.values()):
            channel.flush()
        while self.pump.waiting:
            self.pump.register(self.poller)
            if not self._writable(self.poller.poll(DRAIN * 1000)):
                break

    def _writable(self, ready: Iterable[tuple[int, int]]) -> bool:
        wrote = False
        for fd, _events in ready:
            for stream in self.pump.streams:
                if stream.fd == fd and stream.waiting:
                    stream.write()
                    wrote = True
        return wrote

    def _wait(self, listening: bool) -> list[int]:
        due = self.pump.overdue()
        if due is None:
            due = -1 if listening else DRAIN
        ready = [fd for fd, _events in self.poller.poll(max(due * 1000, -1))]
        if ready:
            self.moved = time.monotonic()
        return ready

    def _heard(self) -> bool:
        """Read events; False when there will be no more."""
        data = os.read(self.events, 65536)
        if not data:
            return False
        while not data.endswith(b"\n"):
            more = os.read(self.events, 65536)
            if not more:
                break
            data += more
        for line in data.decode(errors="replace").splitlines():
            self._event(line)
        return True

    def _event(self, line: str) -> None:
        kind, _, rest = line.partition(" ")
        first, _, rest = rest.partition(" ")
        if kind == "started":
            self.pids[int(first)] = int(rest)
        elif kind == "ended":
            status, _, at = rest.partition(" ")
            self.endings.append(Ending(int(first), self.pids[int(first)], int(status), float(at)))
        elif kind == "unstarted":
            self.unstarted.append(f"rank {first} couldn't be started: {rest}")
        elif kind == "left":
            self.notes.append(f"ended what the script left running: {rest} (pid {first})")
        elif kind == "done":
            self.done = True

    def _collect(self) -> None:
        """Wait for the guardian; if it didn't finish its work, finish it: its orphans are ours."""
        if self.guardian:
            if not self.done:
                self._order(KILL)
            _pid, self.guardian_status = os.waitpid(self.guardian, 0)
            self.guardian = 0
        processes.end_tree(os.getpid(), self._reap, spare=self.own)

    def _reap(self) -> bool:
        """Collect adopted processes that have ended; those that were ours before are left alone."""
        mine = [pid for pid in processes.children().get(os.getpid(), []) if pid not in self.own]
        for pid in mine:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue
        return bool(mine)

    def _result(self) -> Result:
        return Result.of(
            plan=self.plan,
            endings=tuple(self.endings),
            signalled=self.signalled,
            reader_gone=self.pump.gone,
            guardian=0 if self.done else self.guardian_status,
            unstarted=tuple(self.unstarted),
            notes=tuple(self.notes),
            tails={ending.rank: self.pump.tail(ending.rank) for ending in self.endings if ending.status},
            errors={place: _read(fd) for place, fd in enumerate(self.error_files)},
            killed_for_memory=memory_kills() > self.kills,
        )


def _error_file() -> int | None:
    """Make a file in memory for torch's error protocol: it has a path while we live, and leaves nothing behind."""
    try:
        return os.memfd_create("accel-error")
    except (AttributeError, OSError):
        return None


def _read(fd: int | None) -> str:
    if fd is None:
        return ""
    size = os.fstat(fd).st_size
    return os.pread(fd, min(size, 1 << 20), 0).decode(errors="replace")
