"""What the main machine's launcher receives: connections of other machines, and their messages."""

from __future__ import annotations

import time

from accel_launch.running.lifeline.hub.admission import Admission, Refusal
from accel_launch.running.lifeline.hub.comparison import Comparison
from accel_launch.running.lifeline.hub.entrance import Entrance
from accel_launch.running.lifeline.hub.peers import SHOWN, Lost
from accel_launch.running.lifeline.hub.questions import Questions
from accel_launch.running.lifeline.link import Broken
from accel_launch.running.lifeline.messages import FROM_MEMBER, Invalid, clean, kind_of
from accel_launch.running.lifeline.refusals import Refusals
from accel_launch.running.lifeline.remote_failure import RemoteFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from accel_launch.running.lifeline import Lifeline
    from accel_launch.running.lifeline.hub.peers import Peer, Roster
    from accel_launch.running.lifeline.hub.restarts import Restarts
    from accel_launch.running.lifeline.hub.run_end import RunEnd

INTRODUCTION = 10.0  # seconds for a connection to introduce itself, whatever it sends meanwhile


class Reception:
    """Admits machines or refuses them, and acts on what they report."""

    def __init__(  # noqa: PLR0913, PLR0917
        self, line: Lifeline, host: str, secret: bytes | None, roster: Roster, restarts: Restarts, end: RunEnd
    ) -> None:
        """Take the run, and what is known of its machines, restarts and end."""
        self.line, self.host = line, host
        self.roster, self.restarts, self.end = roster, restarts, end
        self.admission, self.questions = Admission(line, roster), Questions(line, roster)
        self.notes: list[str] = []
        self.refusals, self.comparison = Refusals(self.notes), Comparison(line, roster, self.notes)
        self.entrance = Entrance(line, secret, roster, self.refusals)
        if self.entrance.failure:
            self.notes.append(
                f"lifeline_port {line.port} can't be used ({self.entrance.failure}): the machines may notice a "
                "failure elsewhere late, or not at all"
            )

    def handle(self, ready: Mapping[int, int]) -> None:
        """Receive what is ready, first from those that are here: a new connection may get a closed one's number."""
        for fd in [fd for fd in ready if fd in self.roster.peers]:
            peer = self.roster.peers.get(fd)
            if peer is None:  # it has come again by another connection
                continue
            peer.link.flush()
            try:
                for message in peer.link.receive():
                    self._receive(peer, message)
            except Broken as why:
                self._refuse(peer, Refusal(str(why), str(why)))
        self.entrance.handle(ready)
        self.sweep()

    def sweep(self) -> None:
        """Let go of the connections that are over, and of strangers that don't introduce themselves."""
        late = time.monotonic() - INTRODUCTION
        for fd, peer in list(self.roster.peers.items()):
            if peer.machine is None and peer.since < late:
                if not peer.refused:
                    self.refusals.add(f"dropped a connection from {peer.address}: it didn't introduce itself")
                peer.link.open = False
            if not peer.link.open:
                self._disconnected(fd)

    def _receive(self, peer: Peer, message: dict[str, Any]) -> None:
        if peer.refused:  # for a message before this one
            return
        try:
            kind = kind_of(FROM_MEMBER, message)
        except Invalid:
            kind = ""
        if peer.machine is not None:
            self._report(peer, peer.machine, kind, message)
        elif kind == "proof" and not peer.link.proven:
            if peer.link.proves(self.line.run, message["run"]):
                peer.link.send(kind="proof", run=peer.link.proof("hub", self.line.run))
            else:
                self._refuse(peer, self.admission.other_run)
        elif kind == "hello" and peer.link.proven:
            self._welcome(peer, message)
        else:
            raise Broken("its message isn't valid")

    def _report(self, peer: Peer, machine: int, kind: str, message: dict[str, Any]) -> None:
        """Act on what a machine of the run reports."""
        if kind in ("", "proof", "hello"):
            self.refusals.add(f"ignored a message from {peer.address} (machine {machine}) that isn't valid")
            return
        peer.received = time.monotonic()
        if kind in ("still", "groups"):
            self.questions.take(machine, kind, message)
            return
        if kind == "portrait":
            self.comparison.take(peer, machine, message["facts"])
            return
        if kind == "beat":
            peer.link.send(kind="echo", sent=message["sent"], time=time.time())
            self.restarts.update(machine, message.get("well") is True, _failure(peer, message.get("again")))
            return
        if kind == "over":
            self.roster.finished.add(machine)
        failure = _failure(peer, message.get("failure"))
        if failure is not None:
            self.end.add(failure)

    def _welcome(self, peer: Peer, message: dict[str, Any]) -> None:
        """Admit a machine if it is one of this run and isn't here yet, or comes again."""
        machine: int = message["machine"]
        if (refusal := self.admission.refusal(message)) is not None:
            self._refuse(peer, refusal)
            return
        for fd, before in list(self.roster.peers.items()):
            if before.machine == machine:  # a connection that broke without our notice
                self.roster.drop(fd)
        peer.machine, peer.host, peer.token, peer.local = machine, message["host"], message["token"], message["local"]
        peer.received = peer.joined = time.monotonic()
        self.roster.hosts[machine], self.comparison.fresh = peer.host, True
        if note := self.admission.compare(machine, message["total"]):
            self.notes.append(note)
        self.roster.lost.pop(machine, None)
        self.roster.seen.add(machine)
        peer.link.send(kind="welcome", host=clean(self.host), missing=self.roster.missing[:SHOWN])
        if self.end.since is not None:
            self.end.tell(peer.link)
        if self.end.first is not None:
            peer.link.send(kind="verdict", failure=self.end.first.message)

    def _refuse(self, peer: Peer, refusal: Refusal) -> None:
        """Send the reason, which tells a stranger nothing of the run, and note it."""
        peer.link.send(kind="refused", why=clean(refusal.why if peer.link.sealed else refusal.public))
        peer.link.open, peer.refused = False, True
        self.refusals.add(f"refused a launcher at {peer.address}: {refusal.why}")

    def dismiss(self, reasons: Mapping[int, str]) -> None:
        """Send machines away, each for its reason, as if they had never come."""
        for machine, why in reasons.items():
            if (peer := self.roster.present.get(machine)) is not None:
                peer.machine = None
                self.roster.seen.discard(machine)
                peer.link.send(kind="refused", why=clean(why))
                # It hangs up: a connection that is closed with its beats unread would lose the message.
                peer.refused, peer.since = True, time.monotonic()

    def _disconnected(self, fd: int) -> None:
        peer = self.roster.drop(fd)
        machine = peer.machine
        if (
            machine is None
            or machine in self.roster.finished
            or self.end.since is not None
            or machine in self.roster.present
        ):
            return
        self.roster.lost[machine] = Lost(peer.host, peer.token, time.monotonic())


def _failure(peer: Peer, data: dict[str, Any] | None) -> RemoteFailure | None:
    """Return the failure that a machine reports, as its own; None if it reports none."""
    failure = RemoteFailure.read(data)
    return failure.replace(machine=peer.machine, host=peer.host) if failure is not None else None
