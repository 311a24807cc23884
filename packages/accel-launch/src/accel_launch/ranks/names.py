"""Name lookups that nothing waits for: where no name server answers, a resolver takes half a minute.

A launcher that looks after ranks asks in a thread (`LookUp`). A launcher that will fork must not have threads, and
asks a process: ``python names.py NAME PORT`` prints the addresses as JSON. It needs only the standard library.
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
    """One lookup of a name's addresses; a numeric address is known at once and never looked up."""

    def __init__(self, name: str, port: int) -> None:
        """Start the lookup."""
        self.question = name, port, 0, socket.SOCK_STREAM
        self.found: list[Address] | None = None
        """The addresses; empty if the name doesn't exist, None until the answer is here."""
        try:
            self.found = list(socket.getaddrinfo(*self.question, flags=socket.AI_NUMERICHOST))
        except (OSError, UnicodeError):
            from threading import Thread

            thread = Thread(target=self._resolve, daemon=True)  # the end of this process doesn't wait for it
            thread.start()
            thread.join(MOMENT)

    def _resolve(self) -> None:
        try:
            self.found = list(socket.getaddrinfo(*self.question))
        except (OSError, UnicodeError):  # the latter for a name that isn't valid
            self.found = []


if __name__ == "__main__":
    sys.stdout.write(json.dumps(socket.getaddrinfo(sys.argv[1], int(sys.argv[2]), type=socket.SOCK_DGRAM)))
