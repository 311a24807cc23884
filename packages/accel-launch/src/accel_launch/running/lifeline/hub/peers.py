"""The other machines, as the main machine's launcher sees them."""

from __future__ import annotations

import socket
import time

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.lifeline.link import Link

LAST_WORDS = 1.0  # seconds for the last messages to arrive
SHOWN = 1000  # missing machines that a message lists


class Peer:
    """A connection, and the machine behind it once it has introduced itself."""

    def __init__(self, link: Link, address: str) -> None:
        """Take a new connection."""
        self.link, self.address = link, address
        self.since = time.monotonic()
        self.machine: int | None = None
        self.refused = False
        self.host, self.token = "", ""
        self.local = 0
        """The ranks of the machine."""
        self.received = time.monotonic()
        """When its last message came."""
        self.joined = self.received
        """When the machine behind it became known."""


class Lost(Record):
    """A machine whose connection broke, and may come back."""

    host: str
    token: str
    since: float
    """By the monotonic clock."""


class Roster:
    """The machines that are connected, that may come back, and that have finished."""

    def __init__(self, machines: int) -> None:
        """Expect so many machines, the main one included."""
        self.machines = machines
        self.peers: dict[int, Peer] = {}
        """All connections, by descriptor."""
        self.lost: dict[int, Lost] = {}
        self.finished: set[int] = set()
        """Machines on which the run is over."""
        self.seen: set[int] = set()
        """Machines that have come."""
        self.hosts: dict[int, str] = {}
        """The host of each machine that has ever come."""

    @property
    def present(self) -> dict[int, Peer]:
        """The connections whose machine is known, by machine."""
        return {peer.machine: peer for peer in self.peers.values() if peer.machine is not None}

    @property
    def strangers(self) -> dict[int, Peer]:
        """The connections that haven't introduced themselves, by descriptor, the oldest first."""
        return {fd: peer for fd, peer in self.peers.items() if peer.machine is None}

    @property
    def missing(self) -> tuple[int, ...]:
        """The machines that haven't come."""
        return tuple(n for n in range(1, self.machines) if n not in self.seen)

    def broadcast(self, **message: object) -> None:
        """Send a message to every machine."""
        for peer in self.peers.values():
            if peer.machine is not None:
                peer.link.send(**message)

    def drop(self, fd: int) -> Peer:
        """Close a connection."""
        peer = self.peers.pop(fd)
        peer.link.close()
        return peer

    def close(self) -> None:
        """Close all connections, those of machines so that the last messages arrive."""
        for fd in self.strangers:
            self.drop(fd)
        for peer in self.peers.values():
            peer.link.flush()
            try:
                peer.link.socket.shutdown(socket.SHUT_WR)
            except OSError:
                continue
        until = time.monotonic() + LAST_WORDS
        for peer in self.peers.values():
            try:
                while (left := until - time.monotonic()) > 0:
                    peer.link.socket.settimeout(left)
                    if not peer.link.socket.recv(65536):
                        break
            except OSError:
                pass
            peer.link.close()
