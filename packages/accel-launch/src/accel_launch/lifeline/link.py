"""One connection between two launchers: short JSON messages, a line each, sealed where the run has a secret.

A seal is an HMAC over who sends, the how-manieth message it is, and its text, with a key made of the secret and a
random word of each side; so a message can be neither forged, nor changed, nor sent again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

LONGEST = 16384  # bytes of a message; more is no launcher of ours
WORD = 16  # bytes of a side's random word


class Broken(Exception):
    """The other side isn't one of ours, or has no right to say what it says."""


class Link:
    """A connected socket that never blocks."""

    def __init__(self, connection: socket.socket, name: str, secret: bytes | None) -> None:
        """Take a connection; ``name`` is this side's, and the secret seals what is said."""
        connection.setblocking(False)
        self.socket, self.name, self.secret = connection, name, secret
        self.word = os.urandom(WORD).hex()
        self.key: bytes | None = None
        self.coming, self.going = bytearray(), bytearray()
        self.sent = self.heard = 0
        self.open = True

    def greet(self) -> None:
        """Say our random word, which opens the conversation."""
        self._put(json.dumps({"word": self.word}).encode())

    def send(self, **message: object) -> None:
        """Say something; it goes out as the other side takes it."""
        text = json.dumps(message).encode()
        self._put(self._seal(self.name, self.sent, text) + b" " + text)
        self.sent += 1

    def receive(self) -> list[dict[str, Any]]:
        """Return what has come in; at the end of the conversation `open` is False.

        Raises:
            Broken: it can't be from one of ours.
        """
        try:
            while data := self.socket.recv(65536):
                self.coming += data
                if len(self.coming) > LONGEST * 4:
                    break
            else:
                self.open = False
        except BlockingIOError:
            pass
        except OSError:
            self.open = False
        *lines, rest = self.coming.split(b"\n")
        self.coming = bytearray(rest)
        if len(rest) > LONGEST or any(len(line) > LONGEST for line in lines):
            raise Broken("a message is too long")
        return [message for line in lines if (message := self._read(bytes(line))) is not None]

    def flush(self) -> None:
        """Send what waits, as far as it goes."""
        try:
            while self.going:
                del self.going[: self.socket.send(self.going)]
        except BlockingIOError:
            pass
        except OSError:
            self.open = False
            self.going.clear()

    def close(self) -> None:
        """End the conversation."""
        self.open = False
        self.socket.close()

    def _put(self, line: bytes) -> None:
        if len(self.going) < LONGEST * 16:  # a side that takes nothing for so long hears no more of us
            self.going += line + b"\n"
        self.flush()

    def _read(self, line: bytes) -> dict[str, Any] | None:
        if self.key is None:
            words = sorted([self.word, str(_object(line).get("word"))])
            self.key = hmac.new(self.secret or b"", "".join(words).encode(), hashlib.sha256).digest()
            return None
        seal, _, text = line.partition(b" ")
        other = "member" if self.name == "hub" else "hub"
        if not hmac.compare_digest(seal, self._seal(other, self.heard, text)):
            raise Broken("its messages aren't sealed with our secret")
        self.heard += 1
        return _object(text)

    def _seal(self, name: str, number: int, text: bytes) -> bytes:
        if self.secret is None or self.key is None:
            return b"-"
        whole = b"%s %d %s" % (name.encode(), number, text)
        return hmac.new(self.key, whole, hashlib.sha256).hexdigest().encode()


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Broken("it speaks otherwise")
    return found  # pyright: ignore[reportUnknownVariableType]
