"""The launcher while it looks after ranks: signals down to the guardian, output and events up, one status."""

from __future__ import annotations

import errno
import os
import select
import signal
import time

from accel_config.errors import AccelError

from . import processes
from .guardian import ENDING, KILL, PASSED_ON, STOP, Guardian, Spawn
from .output import Pump
from .report import Ending, Event, Result, Seen, judge, memory_kills

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from .lifeline import Told
    from .lifeline.watch import Watch
    from .plan import Command, Plan

DRAIN = 1.0  # seconds without progress after which streams that no process of ours writes to any more are given up


def supervise(plan: Plan, *, leash: int | None = None, tell: Callable[[Event], object] | None = None) -> Result:
    """Run the plan's commands to their end and return how it was; only in the main thread of a process of ours.

    ``leash`` is a descriptor at whose end of file everything is ended; ``tell`` is called when a rank starts or ends.

    Raises:
        AccelError: a folder for log files, or the ranks' streams, can't be made.
    """
    return Supervisor(plan, leash, tell).run()


class Supervisor:
    """Forks the guardian, then carries signals, events and output until it is gone."""

    def __init__(self, plan: Plan, leash: int | None = None, tell: Callable[[Event], object] | None = None) -> None:
        """Take what to run."""
        self.plan, self.leash = plan, leash
        self.tell = tell or _unheard
        self.endings: list[Ending] = []
        self.pids: dict[int, int] = {}
        self.unstarted: list[str] = []
        self.notes: list[str] = []
        self.said: list[str] = []
        self.signalled = 0
        self.asked: float | None = None
        """When something that is no rank's failure has ended the run, in seconds since the epoch."""
        self.hurried = False
        self.guardian_status = 0
        self.done = False
        self.stopped = False
        self.watch: Watch | None = None
        self.deadline: float | None = None
        self.kills = memory_kills()

    def run(self) -> Result:
        """Run to the end."""
        self.own = set(processes.children().get(os.getpid(), []))
        processes.adopt_orphans()
        try:
            self.pump = Pump(self.plan.display)
            orders, events, spawns, extra = self._prepare()
        except OSError as error:
            what = "the ranks' streams" if error.errno == errno.EMFILE else f"log_dir {self.plan.display.log_dir}"
            raise AccelError(f"{what}: {error.strerror}; nothing was started") from None
        ignored = frozenset(n for n in PASSED_ON if signal.getsignal(n) == signal.SIG_IGN)
        self._catch(ignored)
        self._fork(orders, events, spawns, ignored, extra)
        if self.plan.lifeline is not None:
            from .lifeline.watch import Watch

            self.watch = Watch(self.plan.lifeline, os.uname().nodename, self._failing, self._resting, self._started)
        self._carry()
        return self._result()

    # Before the start.

    def _prepare(self) -> tuple[int, int, tuple[Spawn, ...], list[int]]:
        """Make the pipes, the ranks' streams and their error files; return what the guardian gets."""
        orders, self.orders = os.pipe()
        self.events, events = os.pipe()
        stdin, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
        self.record = _memory("accel-record") if self.plan.hosted else None
        self.pump.rank_of = self._rank_here if self.plan.hosted else None
        count = self.plan.hosted or len(self.plan.commands)
        self.error_files = [_memory("accel-error") for _rank in range(count)]
        make = self._host if self.plan.hosted else self._rank
        spawns = tuple(make(place, command, stdin, nothing) for place, command in enumerate(self.plan.commands))
        return orders, events, spawns, [orders, events, stdin, nothing]

    def _rank(self, place: int, command: Command, stdin: int, nothing: int) -> Spawn:
        environ = {**os.environ, **command.env}
        held = self.error_files[place]
        if ("RANK" in command.env or command.label) and held is not None:
            environ["TORCHELASTIC_ERROR_FILE"] = f"/proc/{os.getpid()}/fd/{held}"
        out, err = self.pump.attach(self._rank_of(place), place, command.label)
        return Spawn(place, command.argv, environ, command.cwd, (nothing if place else stdin, out, err))

    def _host(self, _place: int, command: Command, stdin: int, _nothing: int) -> Spawn:
        """An engine: its ranks open their streams, error files and the record below our own folder of descriptors."""
        numbers: list[object] = [self.record]
        for local in range(self.plan.hosted):
            numbers += [*self.pump.attach(self.plan.first_rank + local, local), self.error_files[local]]
        environ = {**os.environ, **command.env}
        environ["ACCEL_SUPERVISOR"] = f"/proc/{os.getpid()}/fd {' '.join(map(str, numbers))}"
        return Spawn(0, command.argv, environ, command.cwd, (stdin, *self.pump.aside()))

    def _fork(
        self, orders: int, events: int, spawns: tuple[Spawn, ...], ignored: frozenset[int], extra: list[int]
    ) -> None:
        self.guardian = os.fork()
        if self.guardian == 0:
            for fd in (self.orders, self.events, *self.pump.channels):
                os.close(fd)
            Guardian(
                spawns,
                orders,
                events,
                self.plan.grace,
                ignored,
                self.record,
                together=self.plan.together,
                preload=self.plan.preload or (),
            ).run()
        for fd in extra:
            os.close(fd)
        if not self.plan.hosted:
            self.pump.let_go()

    # Signals.

    def _catch(self, ignored: frozenset[int]) -> None:
        for number in (*PASSED_ON, signal.SIGWINCH):
            if number not in ignored:
                signal.signal(number, self._signal)

    def _signal(self, number: int, _frame: FrameType | None) -> None:
        """Act at once: a write to a slow reader may be what the main loop is waiting for."""
        if number == signal.SIGWINCH:
            self.pump.resize()
            return
        if number in ENDING:
            self.hurried = True
            if not self.signalled and not self._failed():
                self.signalled = number
                self.asked = self.asked or time.time()
        self._order(number)
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    def _order(self, order: int) -> None:
        try:
            os.write(self.orders, bytes([order]))
        except OSError:
            pass  # the guardian is gone, and its events' end will say so

    def _failed(self) -> bool:
        return any(ending.status for ending in self._endings()[-1])

    def _endings(self) -> list[list[Ending]]:
        """Return how the ranks of each attempt have ended so far."""
        return _recorded(_read(self.record)) if self.plan.hosted else [self.endings]

    # The loop.

    def _carry(self) -> None:
        """Carry output and events until the guardian is gone and everything the ranks wrote is out."""
        self.poller = select.poll()
        self.poller.register(self.events, select.POLLIN)
        if self.leash is not None:
            self.poller.register(self.leash, select.POLLIN)
        listening = True
        self.moved = time.monotonic()
        while listening or self._draining():
            ready = self._wait(listening)
            if self.events in dict(ready) and not self._heard():
                self.poller.unregister(self.events)
                listening = False
                self._collect()
                self.pump.let_go()
            if self.leash is not None and self.leash in dict(ready):
                self.poller.unregister(self.leash)
                self.leash = None
                self.hurried = True
                self._order(KILL)
            self.pump.handle(self.poller, ready)
            if self.watch is not None:  # also while a slow reader is waited for: the others are to know that we live
                self.watch.step(self.poller, ready)
            if self.pump.gone:
                self.asked = self.asked or time.time()
            if self.pump.gone or (self.watch is not None and self.watch.ending):
                self._stop()

    def _draining(self) -> bool:
        """Whether the ranks' last words are on their way: a slow reader is waited for, unless an end is asked for."""
        if self.pump.waiting and not self.hurried:
            return True
        return bool(self.pump.channels or self.pump.waiting) and time.monotonic() < self.moved + DRAIN

    def _stop(self) -> None:
        """End the run, for a reason that is no signal and no failure here; a failure elsewhere limits the grace."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            self.deadline = None
            self._order(KILL)
        if self.stopped:
            return
        self.stopped = True
        if self.watch is not None and not self._started():
            self._order(KILL)  # an agent that waits for others hears no signal, and has nothing to finish
        elif not self.signalled:  # otherwise the ranks have been told by that very signal
            self._order(STOP)
            if self.watch is not None:
                self.deadline = time.monotonic() + min(self.plan.grace, self.watch.side.grace)

    def _started(self) -> bool:
        """Whether an engine has started ranks here."""
        return "started" in _read(self.record)

    def _wait(self, listening: bool) -> list[tuple[int, int]]:
        due = self.pump.overdue()
        if due is None:
            due = -1 if listening else DRAIN
        if self.watch is not None:
            due = self.watch.due if due < 0 else min(due, self.watch.due)
        self.pump.register(self.poller)  # only now: what was overdue is to be written
        ready = self.poller.poll(max(due * 1000, -1))
        if ready:
            self.moved = time.monotonic()
        return ready

    def _heard(self) -> bool:
        """Read events; False when there will be no more."""
        data = os.read(self.events, 65536)
        while data and not data.endswith(b"\n"):
            more = os.read(self.events, 65536)
            if not more:
                break
            data += more
        for line in data.decode(errors="replace").splitlines():
            self._event(line)
        return bool(data)

    def _event(self, line: str) -> None:
        kind, _, rest = line.partition(" ")
        first, _, rest = rest.partition(" ")
        if kind == "started":
            place, self.pids[int(first)] = int(first), int(rest)
            self.tell(Event(kind, self._rank_of(place), place, int(rest)))
        elif kind == "ended":
            status, _, at = rest.partition(" ")
            place = int(first)
            ending = Ending(self._rank_of(place), place, self.pids[place], int(status), float(at))
            self.endings.append(ending)
            self.tell(Event(kind, ending.rank, place, ending.pid, ending))
        elif kind == "unstarted":
            self.unstarted.append(f"rank {first} couldn't be started: {rest}")
        elif kind == "left":
            self.notes.append(f"ended what the script left running: {rest} (pid {first})")
        elif kind == "note":
            self.said.append(line.partition(" ")[2])
            self.pump.say(f"accel: note: {self.said[-1]}\n")
        elif kind == "done":
            self.done = True

    def _rank_of(self, place: int) -> int:
        rank = self.plan.commands[place].rank
        return place if rank is None else rank

    def _rank_here(self, local: int) -> int:
        """Return the rank that the engine gave to a local rank: by arrival, or where machines are uneven."""
        words = [line.split(" ") for line in _read(self.record).splitlines()]
        ranks = [int(word[1]) for word in words if word[0] == "started" and int(word[2]) == local]
        return ranks[-1] if ranks else self.plan.first_rank + local

    def _collect(self) -> None:
        """Wait for the guardian; if it didn't finish its work, finish it: its orphans are ours."""
        _pid, self.guardian_status = os.waitpid(self.guardian, 0)
        if not self.done:
            self.asked = self.asked or time.time()
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
        seen = self._seen()
        if self.watch is None:
            return judge(self.plan, seen)
        from .lifeline import verdict

        return verdict.give(judge(self.plan, seen), self.watch)

    def _failing(self) -> Told | None:
        """Return what ends the whole run already, while ranks here may live: a signal to us, or a rank's failure."""
        from .lifeline import verdict

        return verdict.early(self.plan, self._seen())

    def _resting(self) -> tuple[bool, Told | None]:
        """Return how the ranks here have ended, while their engine lives."""
        from .lifeline import verdict

        return verdict.resting(self.plan, self._seen())

    def _seen(self) -> Seen:
        engine = self.endings[0] if self.plan.hosted and self.endings else None
        *earlier, endings = self._endings()
        return Seen(
            endings=tuple(endings),
            earlier=tuple(map(tuple, earlier)),
            engine=engine,
            signalled=self.signalled,
            asked=self.asked,
            reader_gone=self.pump.gone,
            guardian=0 if self.done else self.guardian_status,
            unstarted=tuple(self.unstarted),
            notes=(*self.notes, *self.pump.broken_off),
            said=tuple(self.said),
            tail=self.pump.tail,
            cried=self.pump.cried,
            error=lambda local: _read(self.error_files[local]) if local < len(self.error_files) else "",
            log=self.pump.log_of,
            killed_for_memory=memory_kills() > self.kills,
            unwritable=self.pump.unwritable,
        )


def _unheard(_event: Event) -> None:
    """Nobody asked for events."""


def _recorded(text: str) -> list[list[Ending]]:
    """Return how the ranks of each of an engine's attempts ended, from what their parents recorded."""
    found: list[list[Ending]] = [[]]
    attempt = "0"
    for line in text.splitlines():
        kind, rank, local, pid, *rest = line.split(" ")
        if kind == "started" and rest[1] != "-":  # other engines than torch's agent start them once
            # The agent started its ranks again: it counts restarts, but not those for machines that come or go.
            if rest[1] != attempt or any(ending.local_rank == int(local) for ending in found[-1]):
                found.append([])
            attempt = rest[1]
        elif kind == "ended":
            found[-1].append(Ending(int(rank), int(local), int(pid), int(rest[0]), float(rest[1])))
    return found


def _memory(name: str) -> int | None:
    """Make a file in memory: it has a path while we live, and leaves nothing behind."""
    try:
        return os.memfd_create(name)
    except (AttributeError, OSError):
        return None


def _read(fd: int | None) -> str:
    if fd is None:
        return ""
    size = os.fstat(fd).st_size
    return os.pread(fd, min(size, 1 << 20), 0).decode(errors="replace")
