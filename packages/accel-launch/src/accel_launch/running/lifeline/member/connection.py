"""The connection of another machine to the main one: dialed, proven on both sides, and made again if it breaks."""

from __future__ import annotations

import errno
import select
import time

from accel_launch.running.lifeline.link import Broken, Link
from accel_launch.running.lifeline.member.dialing import Dialer
from accel_launch.running.lifeline.messages import FROM_HUB, Invalid, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from accel_launch.running.lifeline import Lifeline
    from accel_launch.running.lifeline.refusals import Refusals

INTRODUCTION = 10.0  # seconds for the main machine's launcher to prove that it is one


class Connection:
    """Returns valid messages, from a launcher that has proven to be that of the main machine."""

    def __init__(
        self, line: Lifeline, secret: bytes | None, find: Callable[[str], bytes | None], refusals: Refusals
    ) -> None:
        """Prepare to dial. ``find`` returns the secret in a file that the main machine names."""
        self.line, self.secret, self.find, self.refusals = line, secret, find, refusals
        self.dialer = Dialer(line.address, line.port)
        self.link: Link | None = None
        self.since = 0.0
        """When the connection was made, by the monotonic clock."""
        self.closed_port = False
        """Whether the last address to try answers, but nothing listens there."""
        self.wrong = ""
        """Why who answered there can't be the main machine's launcher."""

    @property
    def ready(self) -> Link | None:
        """The connection, if both sides have proven who they are."""
        return self.link if self.link is not None and self.link.proven else None

    @property
    def next(self) -> float:
        """When to dial, by the monotonic clock; infinite with a connection."""
        return self.dialer.next if self.link is None else float("inf")

    def wants(self) -> dict[int, int]:
        """Return what to wait for, by descriptor."""
        wanted: dict[int, int] = {}
        if self.dialer.socket is not None:
            wanted[self.dialer.socket.fileno()] = select.POLLOUT
        if self.link is not None:
            wanted[self.link.socket.fileno()] = select.POLLIN | (select.POLLOUT if self.link.going else 0)
        return wanted

    def receive(self, ready: Mapping[int, int]) -> list[tuple[str, dict[str, Any]]]:
        """Return the messages that have come, each with its kind: ``proof`` once the other side has proven itself."""
        connection, error = self.dialer.answered(ready)
        self.closed_port = error == errno.ECONNREFUSED and not self.dialer.addresses
        if error:
            self.dialer.retry(self.line.beat)
        elif connection is not None:
            self.link = Link(connection, "member", self.secret, self.find)
            self.since, self.link.watched = time.monotonic(), self.line.watched
            self.link.greet()
        link, found = self.link, list[tuple[str, "dict[str, Any]"]]()
        if link is None or link.socket.fileno() not in ready:
            return found
        link.flush()
        try:
            for message in link.receive():
                if kind := self._kind(link, message):
                    found.append((kind, message))
        except Broken as why:
            self.wrong = f"the program at {self.line.meeting_place} isn't a launcher of this run: {why}"
            link.open = False
        if link.key is not None and not link.sent and link.open:
            link.send(kind="proof", run=link.proof("member", self.line.run))
        return found

    def _kind(self, link: Link, message: dict[str, Any]) -> str:
        """Return the kind of a message; an empty text for one to ignore."""
        try:
            kind = kind_of(FROM_HUB, message)
        except Invalid:
            kind = ""
        if kind == "refused":  # the proof follows ours, so this may come before it
            return kind
        if link.proven:
            if kind in ("", "proof"):
                self.refusals.add("ignored a message of the main machine that isn't valid")
            return "" if kind == "proof" else kind
        if kind != "proof":
            raise Broken("its message isn't valid")
        if not link.proves(self.line.run, message["run"]):
            raise Broken("it is of another run")
        return kind

    def tend(self, now: float, *, again: bool) -> bool:
        """Dial if it is time to, with the last address ``again``; return whether a connection broke."""
        if self.link is not None and not self.link.proven and now - self.since > INTRODUCTION:
            self.link.open = False  # whoever has answered there isn't the launcher of the main machine
        broke = self.drop_closed()
        if self.link is None and now >= self.dialer.next:
            self.dialer.dial(now, again=again)
        return broke

    def drop_closed(self) -> bool:
        """Let go of a connection that is over; return whether there was one."""
        if self.link is None or self.link.open:
            return False
        self.link.close()
        self.link = None
        self.dialer.retry(self.line.beat)
        return True

    def close(self) -> None:
        """End it."""
        self.dialer.close()
        if self.link is not None:
            self.link.close()
