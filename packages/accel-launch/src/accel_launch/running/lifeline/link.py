"""A connection between two launchers: short JSON messages, a line each, sealed with a key of this connection.

Each side opens with a greeting, which has a random word (a nonce). The key is an HMAC of both greetings with the
run's secret. A seal is an HMAC of the sender's role, the message's number and its text with that key. So a message
can be neither forged, nor changed, nor left out, nor sent again, here or in another connection. Without a secret
everybody can make the key. `docs/lifeline.md` describes the protocol.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

PROTOCOL = 2  # a launcher with another number is refused
LONGEST = 16384  # bytes of a message; no launcher of ours sends more
SHORTEST = 512  # bytes of a message from a side that hasn't proven anything
WORD = 32  # letters of a nonce, which has half as many random bytes
ROLES = {"hub": "member", "member": "hub"}


class Broken(Exception):
    """The other side isn't a launcher of this run, or its message isn't sealed with our secret."""


class Link:
    """A connected socket that never blocks."""

    def __init__(
        self,
        connection: socket.socket,
        name: str,
        secret: bytes | None,
        find: Callable[[str], bytes | None] = lambda _file: None,
        file: str = "",
    ) -> None:
        """Take a connection; ``name`` is this side's role, ``hub`` or ``member``.

        The main machine's greeting names the ``file`` in which it has left its secret, if it has; another machine
        that has no secret asks ``find`` for what is in that file.
        """
        connection.setblocking(False)
        self.socket, self.name, self.secret, self.find = connection, name, secret, find
        self.file, self.greeting = file, b""
        self.watched = False
        """Whether ranks are watched here for standing still; the greeting has it."""
        self.portraits = False
        """Whether the other side describes its machine, or compares descriptions; older versions don't."""
        self.answers = self.watches = False
        """Whether the other side can be asked what its ranks do, which older versions can't, and watches them."""
        self.losses = False
        """Whether the other side takes that a lost machine ends the run; older versions don't."""
        self.key: bytes | None = None
        self.proven = False
        """Whether the other side has shown that it is a launcher of this run: it may send longer messages."""
        self.coming, self.going = bytearray(), bytearray()
        self.sent = self.received = 0
        self.open = True

    @property
    def sealed(self) -> bool:
        """Whether the seals are worth something: only who knows the run's secret can make them."""
        return self.secret is not None

    def greet(self) -> None:
        """Open the conversation."""
        word = os.urandom(WORD // 2).hex()
        more = {
            "stacks": True,
            "portraits": True,
            "losses": True,
            "watched": self.watched,
            **({"file": self.file} if self.file else {}),
        }
        greeting = {"lifeline": PROTOCOL, "word": word, "sealed": self.sealed, **more}
        self.greeting = json.dumps(greeting).encode()
        self._put(self.greeting)

    def send(self, **message: object) -> None:
        """Send a message, as fast as the other side takes it."""
        text = json.dumps(message, ensure_ascii=False).encode(errors="replace")
        self._put(self._seal(self.name, self.sent, text) + b" " + text)
        self.sent += 1

    def receive(self) -> list[dict[str, Any]]:
        """Return the messages that have come in; at the end of the conversation `open` is False.

        Raises:
            Broken: the other side isn't a launcher of this run.
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
        longest = LONGEST if self.proven else SHORTEST
        if len(rest) > longest or any(len(line) > longest for line in lines):
            raise Broken("a message is too long")
        return [message for line in lines if (message := self._read(bytes(line))) is not None]

    def flush(self) -> None:
        """Send waiting messages, as far as the other side takes them."""
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

    def proof(self, name: str, run: str) -> str:
        """Return what proves that the side with this role knows the run's name, without telling the name."""
        whole = f"{name} knows the run {run}".encode(errors="replace")
        return hmac.new(self.key or b"", whole, hashlib.sha256).hexdigest()

    def proves(self, run: str, given: str) -> bool:
        """Return whether the other side has ``given`` that proof; from now on it may send longer messages."""
        self.proven = hmac.compare_digest(given.encode(errors="replace"), self.proof(ROLES[self.name], run).encode())
        return self.proven

    def _put(self, line: bytes) -> None:
        if len(self.going) < LONGEST * 16:
            self.going += line + b"\n"
            self.flush()
        else:  # a side that takes nothing for so long has no use of a conversation with gaps
            self.open = False

    def _read(self, line: bytes) -> dict[str, Any] | None:
        if self.key is None:
            self._agree(line)
            return None
        seal, _, text = line.partition(b" ")
        if not hmac.compare_digest(seal, self._seal(ROLES[self.name], self.received, text)):
            raise Broken("its messages aren't sealed with our secret")
        self.received += 1
        return _object(text)

    def _agree(self, line: bytes) -> None:
        """Make the key of this connection from the other side's greeting and ours."""
        theirs = _object(line)
        word = theirs.get("word")
        if theirs.get("lifeline") != PROTOCOL or not isinstance(word, str) or len(word) != WORD:
            raise Broken("it uses another protocol")
        if theirs.get("sealed") is True and self.secret is None:
            self.secret = self.find(str(theirs.get("file")))
            if self.secret is None:
                raise Broken("it has a secret, and this launcher has none; give both --lifeline_secret_file")
        elif theirs.get("sealed") is not True and self.secret is not None and self.name == "member":
            raise Broken("it has no secret, and this launcher has one")
        self.answers, self.watches = theirs.get("stacks") is True, theirs.get("watched") is True
        self.portraits, self.losses = theirs.get("portraits") is True, theirs.get("losses") is True
        hub, member = (self.greeting, line) if self.name == "hub" else (line, self.greeting)
        whole = b"accel lifeline\n%s\n%s" % (hub, member)
        self.key = hmac.new(self.secret or b"", whole, hashlib.sha256).digest()

    def _seal(self, name: str, number: int, text: bytes) -> bytes:
        whole = b"%s %d %s" % (name.encode(), number, text)
        return hmac.new(self.key or b"", whole, hashlib.sha256).hexdigest().encode()


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Broken("it uses another protocol")
    return found  # pyright: ignore[reportUnknownVariableType]


def _refuse(word: str) -> None:
    """Refuse NaN and the infinities, which Python's JSON has beyond the standard's."""
    raise ValueError(word)
