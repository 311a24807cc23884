"""How two machines that try their link know each other: by a key of this run alone, which nobody sends.

The one that is dialed sends a random word, the other one a word of its own and an HMAC of both, the first one another
HMAC of both. Each holds for one round, one direction and one pair, so what was heard is worth nothing elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import select
import socket
import time
from contextlib import suppress

WORD = 16  # random bytes of each side
PROOF = 32  # bytes of an HMAC
MOST = 16  # strangers at once; a new one ends the oldest


class Greeting:
    """A key, and the round, dialing machine and dialed machine for which a greeting holds."""

    def __init__(self, key: bytes, about: str) -> None:
        """Greet with ``key``."""
        self.key, self.about = key, about

    def _proof(self, what: str, words: bytes) -> bytes:
        return hmac.new(self.key, f"{what} {self.about} ".encode() + words, hashlib.sha256).digest()

    def dial(self, address: tuple[str, int], patience: float) -> socket.socket:
        """Return a connection with the other machine.

        Raises:
            OSError: it can't be reached, or somebody else answers.
        """
        connection = socket.create_connection(address, patience)
        until = time.monotonic() + patience * 2
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            theirs, ours = _exactly(connection, WORD, until), os.urandom(WORD)
            connection.sendall(ours + self._proof("dial", theirs + ours))
            if not hmac.compare_digest(_exactly(connection, PROOF, until), self._proof("here", theirs + ours)):
                raise OSError(0, "somebody else answers there")
        except OSError:
            connection.close()
            raise
        return connection

    def accept(self, server: socket.socket, patience: float) -> socket.socket | None:
        """Return a connection from the other machine, dropping all strangers; None if it doesn't come."""
        until, server_fd = time.monotonic() + patience, server.fileno()
        open_: dict[int, tuple[socket.socket, bytes, bytearray]] = {}
        try:
            while (left := until - time.monotonic()) > 0:
                poller = select.poll()
                for fd in (server_fd, *open_):
                    poller.register(fd, select.POLLIN)
                for fd, _events in poller.poll(left * 1000):
                    if fd != server_fd:
                        known = self._hear(*open_[fd])
                        if known is not None:
                            connection, _word, _received = open_.pop(fd)
                            if known:
                                return connection
                            connection.close()
                        continue
                    if len(open_) >= MOST:
                        open_.pop(next(iter(open_)))[0].close()
                        continue
                    with suppress(OSError):
                        connection, word = server.accept()[0], os.urandom(WORD)
                        connection.setblocking(False)
                        open_[connection.fileno()] = connection, word, bytearray()
                        connection.send(word)
        finally:
            for connection, _word, _received in open_.values():
                connection.close()
        return None

    def _hear(self, connection: socket.socket, word: bytes, received: bytearray) -> bool | None:
        """Return whether it is the other machine, which then has its answer; None as long as that isn't clear."""
        try:
            more = connection.recv(WORD + PROOF - len(received))
            received += more
            if more and len(received) < WORD + PROOF:
                return None
            theirs = bytes(received[:WORD])
            if not hmac.compare_digest(bytes(received[WORD:]), self._proof("dial", word + theirs)):
                return False
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.send(self._proof("here", word + theirs))
        except OSError:
            return False
        return True


def _exactly(connection: socket.socket, size: int, until: float) -> bytes:
    data = b""
    while len(data) < size:
        connection.settimeout(max(0.001, until - time.monotonic()))
        more = connection.recv(size - len(data))
        if not more:
            raise OSError(0, "somebody else answers there")
        data += more
    return data
