"""Every other machine's side: the connection to the main machine's launcher, made again when it breaks."""

from __future__ import annotations

import errno
import os
import select
import socket
import time

from ..names import LookUp
from ..report import NOTED
from . import Told, clean
from .link import Broken, Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..names import Address
    from . import Lifeline

DIAL = 5.0  # seconds for an answer
AGAIN = 1.0  # seconds until the next try


class Member:
    """Says that this machine lives and what failed on it, and hears when the run ends."""

    def __init__(self, line: Lifeline, host: str, secret: bytes | None) -> None:
        """Hold what the main machine is told."""
        self.line, self.host, self.secret = line, host, secret
        self.token = os.urandom(8).hex()
        self.link: Link | None = None
        self.dialled: socket.socket | None = None
        self.asked: LookUp | None = None
        """The question for the main machine's addresses, as long as it isn't answered."""
        self.places: list[Address] = []
        """Those that are still to be dialled before it is asked again."""
        self.tried: Address | None = None
        """The one that was dialled last."""
        self.next = time.monotonic()
        self.patience = float("inf")
        """Until when it has to have answered; for ever as long as machines are waited for."""
        self.heard: float | None = None
        """When the main machine was last heard; None: never."""
        self.lost: float | None = None
        """When the connection broke."""
        self.main_host = ""
        self.offset, self.best = 0.0, float("inf")
        self.missing: tuple[int, ...] | None = None
        self.ending = False
        self.grace = line.grace(lost=False)
        self.done = not line.port
        """Whether there is nothing more to be heard: the run is over there, or we gave up."""
        self.told: Told | None = None
        self.rest: dict[str, object] = {}
        """How our ranks have ended, in the words for the main machine."""
        self.finished = False
        """Whether the run is over here."""
        self.verdict: Told | None = None
        self.refused = ""
        self.notes: list[str] = []
        self.ticked = time.monotonic()

    @property
    def settled(self) -> bool:
        """Whether nothing is left to wait for once the run is over here."""
        if self.told is None and not self.ending:
            return self.lost is None or self.done
        return self.verdict is not None or self.done or self.heard is None

    def register(self, poller: select.poll) -> None:
        """Say what to wait for."""
        if self.dialled is not None:
            poller.register(self.dialled, select.POLLOUT)
        if self.link is not None:
            poller.register(self.link.socket, select.POLLIN | (select.POLLOUT if self.link.going else 0))

    def handle(self, poller: select.poll, ready: dict[int, int]) -> None:
        """Hear what has come in."""
        if self.dialled is not None and self.dialled.fileno() in ready:
            poller.unregister(self.dialled)
            self._answered(self.dialled)
        link = self.link
        if link is None or link.socket.fileno() not in ready:
            return
        link.flush()
        try:
            for message in link.receive():
                self._hear(link, message)
        except Broken as why:
            self._give_up(f"what answers at {self.line.meeting_place} is no launcher of this run: {why}")
        if link.key is not None and not link.sent and link.open:
            self._introduce(link)
        if not link.open:
            poller.unregister(link.socket)
            self._broke()

    def tick(self) -> None:
        """Look at the time: say that we live, dial, and see whether the main machine lives."""
        now = time.monotonic()
        if now - self.ticked > self.line.silence / 3 and self.heard is not None:
            self.heard = now  # it is we who were suspended: what was said meanwhile is still to be read
        self.ticked = now
        if self.link is not None and self.link.sent:
            self.link.send(kind="beat", sent=time.time(), **self.rest)
        if self.done:
            return
        if self.link is None and now >= self.next:
            self._dial(now)
        if self.heard is None:
            if now > self.patience:
                self._unreachable()
            return
        if now - self.heard > self.line.silence:
            self._main_is_lost(f"silent for {now - self.heard:.0f} s", self.heard - now)
        elif self.lost is not None and now - self.lost > self.line.pause:
            self._main_is_lost("its launcher is gone", self.lost - now - NOTED)

    def started(self) -> None:
        """Hear that the ranks run, so all machines are there: whoever doesn't answer soon isn't reachable."""
        self.patience = time.monotonic() + 2 * DIAL

    def rests(self, well: bool, again: Told | None) -> None:
        """Hear whether the ranks have ended well here, or are to be started again after a failure."""
        self.rest = {"well": well, "again": dict(self._dated(again)) if again is not None else None}

    def failed(self, told: Told) -> None:
        """Tell the main machine of a failure here."""
        self.told = self._dated(told)
        self.ending = True
        self._tell()

    def over(self, told: Told | None) -> None:
        """Hear that the run is over here: well, or by a failure."""
        self.finished = True
        if told is not None:
            self.failed(told)
        else:
            self._tell()

    def close(self) -> None:
        """Let go."""
        for connection in (self.dialled, self.link):
            if connection is not None:
                connection.close()

    # What goes on.

    def _dial(self, now: float) -> None:
        self.next = now + (DIAL if self.dialled is None else AGAIN)
        if self.dialled is not None:
            self.dialled.close()
            self.dialled = None
            return
        place = self._place()
        if place is None:
            self.next = now + AGAIN  # no such name yet
            return
        family, kind, protocol, _name, where = place
        try:
            self.dialled = socket.socket(family, kind, protocol)
            self.dialled.setblocking(False)
            self.dialled.connect_ex(where)
        except OSError:
            self.dialled = None
            self.next = now + AGAIN  # no way there

    def _place(self) -> Address | None:
        """Return the address to dial: that which has answered, else each in turn, the name being looked up again."""
        if self.heard is not None and self.tried is not None:
            return self.tried
        if not self.places:
            self.asked = self.asked or LookUp(self.line.address, self.line.port)
            if self.asked.found is not None:
                self.places, self.asked = self.asked.found, None
        self.tried = self.places.pop(0) if self.places else None
        return self.tried

    def _answered(self, dialled: socket.socket) -> None:
        self.dialled = None
        if why := dialled.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            dialled.close()
            self.next = time.monotonic() + min(AGAIN, self.line.beat)
            due = self.heard is None and self.patience < float("inf")
            if why == errno.ECONNREFUSED and due and not self.places:
                self._unreachable()  # the machine is there, and its launcher doesn't listen
            return
        self.link = Link(dialled, "member", self.secret)
        self.link.greet()

    def _introduce(self, link: Link) -> None:
        link.send(
            kind="hello",
            run=self.line.run,
            machine=self.line.machine,
            machines=self.line.machines,
            local=self.line.local,
            total=self.line.total,
            backend=self.line.backend,
            host=self.host,
            token=self.token,
        )

    def _hear(self, link: Link, message: dict[str, Any]) -> None:
        self.heard = time.monotonic()
        kind = message.get("kind")
        if kind in ("welcome", "beat"):
            self._roster(message)
        if kind == "welcome":
            self.lost = None
            self.main_host = clean(str(message.get("host")))[:100]
            self._tell()
        elif kind == "echo":
            self._compare(message)
        elif kind == "end":
            self.ending = True
            grace = message.get("grace")
            self.grace = min(float(grace), self.grace) if isinstance(grace, (int, float)) else self.grace
        elif kind == "note":
            self.notes.append(clean(str(message.get("text")))[:300])
        elif kind == "verdict":
            self.verdict = Told.read(message.get("failure"))
        elif kind == "done":
            self.done = True
        elif kind == "refused":
            self.refused = clean(str(message.get("why")))[:300]
            self.ending = self.done = True
            link.open = False

    def _roster(self, message: dict[str, Any]) -> None:
        missing: Any = message.get("missing")
        if isinstance(missing, list) and all(isinstance(n, int) for n in missing):  # pyright: ignore[reportUnknownVariableType]
            self.missing = tuple(missing)  # pyright: ignore[reportUnknownArgumentType]

    def _compare(self, message: dict[str, Any]) -> None:
        """Learn how far our clock is from the main machine's: best from the quickest answer."""
        sent, there, now = message.get("sent"), message.get("time"), time.time()
        if isinstance(sent, float) and isinstance(there, float) and 0 <= now - sent < self.best:
            self.best, self.offset = now - sent, there - (sent + now) / 2

    def _dated(self, told: Told) -> Told:
        """Return a failure here with its time by the main machine's clock."""
        return told.replace(at=told.at + self.offset)

    def _tell(self) -> None:
        if self.link is not None and self.link.sent and (self.told is not None or self.finished):
            failure = dict(self.told) if self.told is not None else None
            self.link.send(kind="over" if self.finished else "failed", failure=failure)

    def _broke(self) -> None:
        if self.link is not None:
            self.link.close()
            self.link = None
        self.next = time.monotonic() + min(AGAIN, self.line.beat)
        if self.heard is not None and not self.done and self.lost is None:
            self.lost = time.monotonic()

    def _main_is_lost(self, why: str, ago: float) -> None:
        self.done = True
        if self.verdict is None:
            told = Told(
                0, self.main_host, time.time() + self.offset + ago, 1, f"machine 0, the main one, is lost: {why}"
            )
            self.verdict = told if self.told is None or told.at <= self.told.at else self.told
        self.ending, self.grace = True, self.line.grace(lost=True)

    def _unreachable(self) -> None:
        self._give_up(f"the main machine's launcher can't be reached at {self.line.meeting_place}")

    def _give_up(self, why: str) -> None:
        self.done = True
        self.notes.append(f"{why}; a failure on another machine may be noticed late here, or not at all")
        if self.link is not None:
            self.link.open = False
