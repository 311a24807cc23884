"""The port at which launchers arrive. Strangers have few places there, and never those of machines."""

from __future__ import annotations

import errno
import time

from accel_launch.ranks.listening import bind
from accel_launch.running.lifeline.hub.peers import Peer
from accel_launch.running.lifeline.link import Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from accel_launch.running.lifeline import Lifeline
    from accel_launch.running.lifeline.hub.peers import Roster
    from accel_launch.running.lifeline.refusals import Refusals

STRANGERS = 64  # connections that haven't introduced themselves
FROM_ONE = 16  # of them from one address
AT_ONCE = 64  # connections that are accepted before machines get their turn again
PAUSE = 1.0  # seconds until the next try if this process has no descriptor left


class Entrance:
    """Listens, and keeps strangers few: the newest stays, because a machine introduces itself at once."""

    def __init__(self, line: Lifeline, secret: bytes | None, roster: Roster, refusals: Refusals) -> None:
        """Listen; on every address if seals keep strangers out, else only where the machines come from."""
        self.secret, self.roster, self.refusals = secret, roster, refusals
        self.watched, self.file = line.watched, ""
        """The name of the file in which the other machines find the secret, if it isn't known to them already."""
        self.rest = 0.0
        """Until when no connection is accepted, by the monotonic clock."""
        self.listeners: list[socket.socket] = []
        self.failure = ""
        """Why the port can't be used."""
        if line.port:
            self._listen(line.port, line.listen if secret is None else ())

    def _listen(self, port: int, addresses: tuple[str, ...]) -> None:
        for address in addresses or (None,):
            try:
                listener = bind(port, backlog=128, address=address)
            except OSError as error:
                if address is not None and error.errno == errno.EADDRNOTAVAIL:  # it has gone, or isn't ready yet
                    continue
                self.failure = error.strerror or str(error)
                self.close()
                return
            listener.setblocking(False)
            self.listeners.append(listener)
        if addresses and not self.listeners:
            self._listen(port, ())

    @property
    def open(self) -> tuple[int, ...]:
        """The descriptors to wait for."""
        return tuple(one.fileno() for one in self.listeners) if time.monotonic() >= self.rest else ()

    def handle(self, ready: Mapping[int, int]) -> None:
        """Accept who is there."""
        for listener in self.listeners:
            if listener.fileno() in ready:
                self._accept(listener)

    def close(self) -> None:
        """Accept nobody any more."""
        for listener in self.listeners:
            listener.close()
        self.listeners.clear()

    def _accept(self, listener: socket.socket) -> None:
        for _time in range(AT_ONCE):
            try:
                connection, where = listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self.rest = time.monotonic() + PAUSE
                return
            address = str(where[0]).removeprefix("::ffff:").partition("%")[0]
            self._make_room(address)
            peer = Peer(Link(connection, "hub", self.secret, file=self.file), address)
            peer.link.watched = self.watched
            self.roster.peers[connection.fileno()] = peer
            peer.link.greet()

    def _make_room(self, address: str) -> None:
        """Drop the oldest stranger of an address that has too many, for a new one from ``address``."""
        by_network: dict[str, list[int]] = {}
        strangers = self.roster.strangers
        for fd, peer in strangers.items():
            by_network.setdefault(network(peer.address), []).append(fd)
        crowd = by_network.get(network(address), [])
        if len(crowd) < FROM_ONE:
            if len(strangers) < STRANGERS:
                return
            crowd = max(by_network.values(), key=len)
        peer = self.roster.drop(crowd[0])
        self.refusals.add(f"dropped a connection from {peer.address}: it said nothing, and others came")


def network(address: str) -> str:
    """Return what one stranger has of addresses: one of IPv4, but all of a network of IPv6."""
    import socket

    try:
        return socket.inet_pton(socket.AF_INET6, address)[:8].hex()
    except OSError:
        return address
