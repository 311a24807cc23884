"""The main machine's side: who is there, who lives, and which failure came first."""

from __future__ import annotations

import select
import socket
import time

from accel_config.record import Record

from ..report import NOTED
from . import Told, clean
from .link import Broken, Link
from .waiting import named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import Lifeline

STRANGERS = 64  # connections beyond one for each machine that haven't said who they are; more are turned away
HELLO = 10.0  # seconds to say it
RESTART = 15.0  # seconds that agents may take to start their ranks again


class Guest:
    """A connection, and the machine behind it once it has said so."""

    def __init__(self, link: Link, address: str) -> None:
        """Take a connection that has just come in."""
        self.link, self.address = link, address
        self.machine: int | None = None
        self.host, self.token = "", ""
        self.local = 0
        self.heard = time.monotonic()


class Lost(Record):
    """A machine whose connection broke, and may come back."""

    host: str
    token: str
    since: float
    """By the monotonic clock."""


class Hub:
    """Listens for the others, and decides when the run is over for all."""

    def __init__(self, line: Lifeline, host: str, secret: bytes | None) -> None:
        """Listen; a port that is taken leaves the run without a lifeline, with a note."""
        self.line, self.host, self.secret = line, host, secret
        self.guests: dict[int, Guest] = {}
        self.lost: dict[int, Lost] = {}
        self.left: set[int] = set()
        """Machines on which the run is over."""
        self.seen: set[int] = set()
        self.total = line.total
        """Ranks that all machines were started for; None where they differ, or nobody says."""
        self.well: set[int] = set()
        """Machines on which all ranks have ended well."""
        self.again: dict[int, Told] = {}
        """The failures after which machines would start their ranks again."""
        self.stuck: float | None = None
        """Since when they can't, because others have finished."""
        self.failures: dict[int, Told] = {}
        """The first failure that each machine tells."""
        self.since: float | None = None
        """When the run began to end."""
        self.grace = line.grace(lost=False)
        self.verdict: Told | None = None
        self.notes: list[str] = []
        self.said: set[str] = set()
        self.listener = self._listen() if line.port else None
        self.ticked = time.monotonic()

    def _listen(self) -> socket.socket | None:
        why: str | None = ""
        for family, address in ((socket.AF_INET6, "::"), (socket.AF_INET, "")):
            try:
                listener = socket.socket(family, socket.SOCK_STREAM)
            except OSError:  # a kernel without IPv6
                continue
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                listener.bind((address, self.line.port))
                listener.listen(128)
                listener.setblocking(False)
            except OSError as error:
                why = error.strerror
                listener.close()
                continue
            return listener
        self.notes.append(
            f"nothing can listen on lifeline_port {self.line.port} here ({why}): a failure on one machine may be "
            "noticed late, or not at all, on the others"
        )
        return None

    # What the supervisor's loop does with us.

    @property
    def missing(self) -> tuple[int, ...] | None:
        """The machines that haven't come; None where that can't be known."""
        if self.listener is None:
            return None
        return tuple(n for n in range(1, self.line.machines) if n not in self.seen)

    @property
    def ending(self) -> bool:
        """Whether the run is to end."""
        return self.since is not None

    @property
    def settled(self) -> bool:
        """Whether nothing is left to wait for once the run is over here."""
        others = set(self.guests_there) | set(self.lost)
        return self.verdict is not None if self.ending else not others or self.listener is None

    @property
    def guests_there(self) -> dict[int, Guest]:
        """The guests whose machine is known."""
        return {guest.machine: guest for guest in self.guests.values() if guest.machine is not None}

    def register(self, poller: select.poll) -> None:
        """Say what to wait for."""
        if self.listener is not None:
            poller.register(self.listener, select.POLLIN)
        for fd, guest in self.guests.items():
            poller.register(fd, select.POLLIN | (select.POLLOUT if guest.link.going else 0))

    def handle(self, poller: select.poll, ready: dict[int, int]) -> None:
        """Hear what has come in."""
        if self.listener is not None and self.listener.fileno() in ready:
            self._accept()
        for fd in [fd for fd in ready if fd in self.guests]:
            guest = self.guests[fd]
            guest.link.flush()
            try:
                for message in guest.link.receive():
                    self._hear(guest, message)
            except Broken as why:
                self._turn_away(guest, str(why))
            if not guest.link.open:
                poller.unregister(fd)
                self._gone(fd)

    def tick(self) -> None:
        """Look at the time: say that we live, and see who doesn't."""
        now = time.monotonic()
        slept = now - self.ticked > self.line.silence / 3
        self.ticked = now
        for fd, guest in list(self.guests.items()):
            if slept:
                guest.heard = now  # it is we who were suspended: what they said meanwhile is still to be read
            if guest.machine is None and now - guest.heard > HELLO:
                guest.link.close()
                del self.guests[fd]
            elif guest.machine is not None and now - guest.heard > self.line.silence:
                self._dead(guest.machine, guest.host, f"silent for {now - guest.heard:.0f} s", guest.heard - now)
                guest.link.close()
                del self.guests[fd]
        for machine, lost in list(self.lost.items()):
            if now - lost.since > self.line.pause:
                del self.lost[machine]
                self._dead(machine, lost.host, "its launcher is gone", lost.since - now - NOTED)
        self._tell(kind="beat", missing=self.missing, time=time.time())
        self._give_up_restart(now)
        self._judge(now)

    def rests(self, well: bool, again: Told | None) -> None:
        """Hear whether the ranks have ended well here, or are to be started again after a failure."""
        self._rests(0, well, again)

    def failed(self, told: Told, *, lost: bool = False) -> None:
        """Take a failure, of this machine or another: the run ends."""
        before = self.failures.get(told.machine)
        if before is None or told.at <= before.at:
            self.failures[told.machine] = told
        if self.since is None:
            self.since = time.monotonic()
            self.grace = self.line.grace(lost=lost)
            self._tell(kind="end", grace=self.grace)

    def over(self, told: Told | None) -> None:
        """Hear that the run is over here: well, or by a failure."""
        self.left.add(0)
        if told is not None:
            self.failed(told)
        elif not self.ending:
            self._tell(kind="done")

    def close(self) -> None:
        """Let go, so that what was said last arrives."""
        if self.listener is not None:
            self.listener.close()
        for guest in self.guests.values():
            guest.link.flush()
            try:
                guest.link.socket.shutdown(socket.SHUT_WR)
            except OSError:
                continue
        until = time.monotonic() + 1
        for guest in self.guests.values():
            guest.link.socket.settimeout(max(0.01, until - time.monotonic()))
            try:
                while guest.link.socket.recv(65536):
                    pass
            except OSError:
                pass
            guest.link.close()

    # What goes on.

    def _accept(self) -> None:
        listener = self.listener
        while listener is not None:
            try:
                connection, where = listener.accept()
            except OSError:
                return
            if sum(guest.machine is None for guest in self.guests.values()) >= STRANGERS + self.line.machines:
                connection.close()
                continue
            address = str(where[0]).removeprefix("::ffff:")
            guest = Guest(Link(connection, "hub", self.secret), address)
            self.guests[connection.fileno()] = guest
            guest.link.greet()

    def _hear(self, guest: Guest, message: dict[str, Any]) -> None:
        guest.heard = time.monotonic()
        kind = message.get("kind")
        if guest.machine is None:
            if kind == "hello":
                self._welcome(guest, message)
        elif kind == "beat":
            guest.link.send(kind="echo", sent=message.get("sent"), time=time.time())
            self._rests(guest.machine, message.get("well") is True, _told(guest, message.get("again")))
        elif kind in ("failed", "over"):
            if kind == "over":
                self.left.add(guest.machine)
            told = _told(guest, message.get("failure"))
            if told is not None:
                self.failed(told)

    def _welcome(self, guest: Guest, message: dict[str, Any]) -> None:
        """Let a machine in, if it is one of ours and isn't here yet."""
        machine, host, token = message.get("machine"), str(message.get("host"))[:100], str(message.get("token"))
        why = self._refusal(machine, message, token)
        if why or not isinstance(machine, int):
            self._turn_away(guest, why)
            return
        guest.machine, guest.host, guest.token, guest.local = machine, clean(host), token, _count(message, "local")
        self._compare(machine, _count(message, "total"))
        self.lost.pop(machine, None)
        self.seen.add(machine)
        guest.link.send(kind="welcome", host=self.host, time=time.time(), missing=self.missing)
        if self.ending:
            guest.link.send(kind="end", grace=self.grace)

    def _turn_away(self, guest: Guest, why: str) -> None:
        """Say why, to it and once to the user: it may come again and again."""
        guest.link.send(kind="refused", why=why)
        guest.link.open = False
        note = f"a launcher at {guest.address} was turned away: {why}"
        if note not in self.said:
            self.said.add(note)
            self.notes.append(note)

    def _refusal(self, machine: object, message: dict[str, Any], token: str) -> str:
        if message.get("run") != self.line.run:
            return f"it belongs to the run {str(message.get('run'))[:100]!r}, and this is {self.line.run!r}"
        if message.get("machines") != self.line.machines:
            return f"it was started for {message.get('machines')} machines, and this run has {self.line.machines}"
        if not isinstance(machine, int) or not 0 < machine < self.line.machines:
            return f"it says that it is machine {machine!r}, and there are 1 to {self.line.machines - 1}"
        here = self.guests_there.get(machine) or self.lost.get(machine)
        if here is not None and here.token != token:
            return f"machine {machine} is here already (host {here.host})"
        if (backend := message.get("backend")) != self.line.backend:
            return f"its rdzv_backend is {str(backend)[:100]}, and that of this run {self.line.backend}"
        same = self.total is not None and _count(message, "total") in (0, self.total)
        others = {n: guest.local for n, guest in self.guests_there.items() if n != machine}
        brought = self.line.local + sum(others.values()) + _count(message, "local")
        if same and len(others) + 2 == self.line.machines and brought != self.total:
            return f"with its {_count(message, 'local')} processes there are {brought}, and this run has {self.total}"
        return ""

    def _compare(self, machine: int, total: int) -> None:
        """Say it once where a machine was started for another number of ranks: that makes uneven machines as well."""
        if self.total is not None and total not in (0, self.total):
            self.notes.append(
                f"machine {machine} was started for {total} processes in all, and this one for {self.total}: each "
                "brings its share of its own number"
            )
            self.total = None

    def _gone(self, fd: int) -> None:
        guest = self.guests.pop(fd)
        guest.link.close()
        machine = guest.machine
        if machine is None or machine in self.left or self.ending or machine in self.guests_there:
            return
        self.lost[machine] = Lost(guest.host, guest.token, time.monotonic())

    def _dead(self, machine: int, host: str, why: str, ago: float) -> None:
        """A machine is lost: that ends the run, unless it can go on with those that are left."""
        if machine in self.left:
            return
        there = 1 + len(set(self.guests_there) - {machine})
        if self.line.least <= there and self.line.least < self.line.machines:
            self.notes.append(f"machine {machine} (host {host}) is lost ({why}); the run goes on with the others")
            self.seen.discard(machine)
            return
        self.failed(Told(machine, host, time.time() + ago, 1, f"machine {machine} is lost: {why}"), lost=True)

    def _rests(self, machine: int, well: bool, again: Told | None) -> None:
        (self.well.add if well else self.well.discard)(machine)
        if again is None:
            self.again.pop(machine, None)
        else:
            self.again.setdefault(machine, again)

    def _give_up_restart(self, now: float) -> None:
        """End the run where some machines want to start their ranks again and others have finished theirs."""
        well = self.well | (self.left - set(self.failures))
        self.stuck = (self.stuck or now) if self.again and well else None
        if self.stuck is not None and now - self.stuck > RESTART and not self.ending:
            note = f"no rank can be started again, since those of {named(tuple(well))} have ended: that ends the run"
            self.notes.append(note)
            self._tell(kind="note", text=note)
            self.failed(min(self.again.values(), key=lambda told: told.at))

    def _judge(self, now: float) -> None:
        """Name the first failure, once whoever failed before it has had the time to say so."""
        if self.since is None or self.verdict is not None:
            return
        waited = now - self.since
        over = not self.lost and self.left >= {0, *self.guests_there}
        if over or waited > self.grace + self.line.pause:
            self.verdict = min(self.failures.values(), key=lambda told: told.at)
            self._tell(kind="verdict", failure=dict(self.verdict))

    def _tell(self, **message: object) -> None:
        for guest in self.guests.values():
            if guest.machine is not None:
                guest.link.send(**message)


def _told(guest: Guest, data: object) -> Told | None:
    """Return the failure that a machine tells, as its own; None where it tells none."""
    told = Told.read(data)
    return told.replace(machine=guest.machine, host=guest.host) if told is not None else None


def _count(message: dict[str, Any], name: str) -> int:
    """Return a number that a machine tells; 0 where it tells none."""
    number = message.get(name)
    return number if isinstance(number, int) else 0
