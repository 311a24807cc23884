"""Looking up a host's name without standing still: where no name server answers, a resolver takes half a minute.

A launcher that looks after ranks asks in a thread (`LookUp`). One that is still to fork may have none, and asks a
process: ``python names.py NAME PORT`` prints the addresses as json. It is the standard library alone.
"""

from __future__ import annotations

import json
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    Address = tuple[int, int, int, str, tuple[object, ...]]
    """As `socket.getaddrinfo` returns it."""

MOMENT = 0.05  # seconds in which a name of this machine's own tables is found


class LookUp:
    """One question for the addresses of a name; a number is answered at once, and nobody is asked."""

    def __init__(self, name: str, port: int) -> None:
        """Ask."""
        self.asked = name, port, 0, socket.SOCK_STREAM
        self.found: list[Address] | None = None
        """The addresses; none where there is no such name, None as long as nobody has said so."""
        try:
            self.found = list(socket.getaddrinfo(*self.asked, flags=socket.AI_NUMERICHOST))
        except (OSError, UnicodeError):
            from threading import Thread

            self.asking = Thread(target=self._ask, daemon=True)  # which nobody waits for when we end
            self.asking.start()
            self.asking.join(MOMENT)

    def _ask(self) -> None:
        try:
            self.found = list(socket.getaddrinfo(*self.asked))
        except (OSError, UnicodeError):  # the latter of a name that can be none
            self.found = []


if __name__ == "__main__":
    sys.stdout.write(json.dumps(socket.getaddrinfo(sys.argv[1], int(sys.argv[2]), type=socket.SOCK_DGRAM)))
