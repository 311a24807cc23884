"""What the main machine asks the others about their ranks, and who of them can be asked."""

from __future__ import annotations

import time

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from accel_launch.running.lifeline import Lifeline
    from accel_launch.running.lifeline.hub.peers import Peer, Roster

SILENT = 5.0  # seconds without a message, three heartbeats at least, from which on a launcher doesn't answer


class Standing(Record):
    """How another machine of the run can be asked."""

    host: str
    why: str = ""
    """Why it can't be asked; empty if it can."""
    over: bool = False
    """Whether the run has ended there."""
    back: bool = False
    """Whether its connection has just broken, and may come back."""
    unwatched: str = ""
    """Why it doesn't report that its ranks stand still; empty if it does."""


class Questions:
    """Sends questions, and passes on what comes."""

    def __init__(self, line: Lifeline, roster: Roster) -> None:
        """Take the machines of the run."""
        self.line, self.roster = line, roster
        self.take: Callable[[int, str, dict[str, Any]], None] = lambda _machine, _kind, _message: None
        """Takes a message of a machine: its number, the kind, and the fields."""

    def standings(self) -> dict[int, Standing]:
        """Return the other machines, as far as they are part of the run."""
        roster, found = self.roster, dict[int, Standing]()
        for machine, lost in roster.lost.items():
            found[machine] = Standing(lost.host, back=True)
        for machine, peer in roster.present.items():
            found[machine] = self._standing(peer)
        for machine in roster.finished - {0}:
            found[machine] = Standing(roster.hosts.get(machine, ""), over=True)
        if self.line.least == self.line.machines:  # of an elastic run any machine may be absent
            for machine in roster.missing:
                found[machine] = Standing("", why="its launcher hasn't connected to this one")
        return found

    def _standing(self, peer: Peer) -> Standing:
        silent = time.monotonic() - peer.received > max(SILENT, 3 * self.line.beat)
        if silent:
            return Standing(peer.host, why="its launcher doesn't answer")
        if not peer.link.answers:
            return Standing(peer.host, why="its launcher is of an older version")
        return Standing(peer.host, unwatched="" if peer.link.watches else "it isn't watched (stall_after 0 there)")

    def ask(self, machine: int, number: int, about: str) -> None:
        """Ask a machine what its ranks do: ``about`` is ``still`` or ``stacks``."""
        peer = self.roster.present.get(machine)
        if peer is not None and peer.link.answers:
            peer.link.send(kind="ask", number=number, about=about)

    def broadcast(self, **message: object) -> None:
        """Send a message to every machine that knows such messages."""
        for peer in self.roster.present.values():
            if peer.link.answers:
                peer.link.send(**message)
