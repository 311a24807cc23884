"""How another machine's launcher connects to that of the main machine, without ever waiting."""

from __future__ import annotations

import errno
import socket
import time

from accel_launch.ranks.names import LookUp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_launch.ranks.names import Address

DIAL = 5.0  # seconds for an answer
SOON, AGAIN = 0.05, 1.0
"""Seconds until the next try: at first, as the main machine may be about to listen, and at most."""


class Dialer:
    """Looks up the main machine's addresses, and tries each in turn."""

    def __init__(self, name: str, port: int) -> None:
        """Dial as soon as the time has come."""
        self.name, self.port = name, port
        self.socket: socket.socket | None = None
        """The connection that is being made."""
        self.lookup: LookUp | None = None
        """The lookup of the addresses that isn't finished."""
        self.addresses: list[Address] = []
        """Those still to try before the next lookup."""
        self.tried: Address | None = None
        """The one that was tried last."""
        self.next = time.monotonic()
        """When to act again, by the monotonic clock."""
        self.pause = SOON

    def dial(self, now: float, *, again: bool) -> None:
        """Give up a try that takes too long, or begin the next: with the last one ``again`` if it has answered."""
        self.next = now + (DIAL if self.socket is None else AGAIN)
        if self.socket is not None:
            self.close()
            return
        address = self.tried if again and self.tried is not None else self._address()
        if address is None:
            self.next = now + AGAIN  # the name doesn't exist yet
            return
        family, kind, protocol, _name, where = address
        try:
            self.socket = socket.socket(family, kind, protocol)
            self.socket.setblocking(False)
            self.socket.connect_ex(where)
        except OSError:
            self.socket = None
            self.next = now + AGAIN  # no way leads there

    def _address(self) -> Address | None:
        if not self.addresses:
            self.lookup = self.lookup or LookUp(self.name, self.port)
            if self.lookup.found is not None:
                self.addresses, self.lookup = self.lookup.found, None
        self.tried = self.addresses.pop(0) if self.addresses else None
        return self.tried

    def answered(self, ready: Mapping[int, int]) -> tuple[socket.socket | None, int]:
        """Return the connection if one is made now, and the number of the error that broke it, or 0."""
        dialed = self.socket
        if dialed is None or dialed.fileno() not in ready:
            return None, 0
        self.socket = None
        if error := dialed.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            dialed.close()
            return None, error
        if _itself(dialed):
            dialed.close()
            return None, errno.ECONNREFUSED
        return dialed, 0

    def retry(self, beat: float) -> None:
        """Dial again soon, after a heartbeat at most, and later each time."""
        self.next = time.monotonic() + min(self.pause, beat)
        self.pause = min(2 * self.pause, AGAIN)

    def close(self) -> None:
        """Give up the connection that is being made."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def _itself(dialed: socket.socket) -> bool:
    """Return whether a socket is connected to itself, as the kernel does if it chose the very port that is dialed."""
    try:
        return dialed.getsockname() == dialed.getpeername()
    except OSError:
        return False
