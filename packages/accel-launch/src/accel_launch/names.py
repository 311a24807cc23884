"""Looking up a host's name without standing still: where no name server answers, a resolver takes half a minute."""

from __future__ import annotations

import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    Address = tuple[int, int, int, str, tuple[object, ...]]
    """As `socket.getaddrinfo` returns it."""

MOMENT = 0.05  # seconds in which a name of this machine's own tables is found


class LookUp:
    """One question for the addresses of a name; a number is answered at once, and nobody is asked."""

    def __init__(self, name: str, port: int, kind: socket.SocketKind) -> None:
        """Ask."""
        self.asked = name, port, 0, kind
        self.found: list[Address] | None = None
        """The addresses; none where there is no such name, None as long as nobody has said so."""
        try:
            self.found = list(socket.getaddrinfo(*self.asked, flags=socket.AI_NUMERICHOST))
        except (OSError, UnicodeError):
            from threading import Thread

            self.asking = Thread(target=self._ask, daemon=True)  # which nobody waits for when we end
            self.asking.start()
            self.wait(MOMENT)

    def wait(self, seconds: float) -> list[Address]:
        """Return the addresses once they are known, at the latest in so many seconds: those known by then."""
        if self.found is None:
            self.asking.join(seconds)
        return self.found or []

    def _ask(self) -> None:
        try:
            self.found = list(socket.getaddrinfo(*self.asked))
        except (OSError, UnicodeError):  # the latter of a name that can be none
            self.found = []
