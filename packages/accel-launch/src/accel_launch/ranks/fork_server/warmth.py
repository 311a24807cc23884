"""The parked process between two launches: nobody's, at a listening socket, for a limited time."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

TICK = 2.0  # seconds between two looks at the memory
FILES = 15  # ticks between two looks at the files
PATIENCE = 2.0  # seconds for a client to ask
WAITING = 8  # clients that may wait
LONGEST = 4096  # bytes of a question
BEGAN = time.monotonic()
"""When the fork server began, whose copies wait here."""
LEAST = 0.1  # of the memory that must be available
FIRST = b"1000"
"""The score of the process that the kernel kills first when memory runs out, also that of a cgroup."""
STALLED = 10.0  # percent of the last 10 s in which every process that could run waited for memory


class Waiting:
    """Waits for a launch that is the same in everything."""

    def __init__(self, sockets: Any, files: Any, terms: dict[str, Any], descriptor: int) -> None:
        """Listen at a bound socket, under the launcher's terms.

        Raises:
            OSError: the socket can't listen.
        """
        self.sockets, self.files, self.terms = sockets, files, terms
        self.preferred = preferred(FIRST)
        self.until = time.monotonic() + terms["seconds"]
        self.socket = sockets.socket(sockets.AF_UNIX, sockets.SOCK_SEQPACKET, 0, descriptor)
        self.socket.listen(WAITING)  # here, so that the kernel names this process to clients

    def client(self) -> Any:
        """Return the connection of the launch that takes this process over; end when the time has come."""
        ticks = 0
        while True:
            left = self.until - time.monotonic()
            if (
                left <= 0
                or pressed()
                or not os.path.lexists(self.terms["path"])
                or (ticks % FILES == FILES - 1 and self.files.changed())
            ):
                self.end()
            self.socket.settimeout(min(TICK, left))
            try:
                descriptor = self.socket._accept()[0]
            except self.sockets.timeout:
                ticks += 1
                continue
            connection = self.sockets.socket(self.sockets.AF_UNIX, self.sockets.SOCK_SEQPACKET, 0, descriptor)
            try:
                taken = self._serve(connection)
            except OSError:
                taken = False
            if taken:
                self._leave()
                connection.settimeout(None)
                return connection
            connection.close()

    def _serve(self, connection: Any) -> bool:
        """Answer a question; return whether the client takes this process over."""
        sockets = self.sockets
        connection.settimeout(PATIENCE)
        peer = connection.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, 12)
        if int.from_bytes(peer[4:8], sys.byteorder) != os.getuid():
            return False
        kind, _, rest = connection.recv(LONGEST).partition(b" ")
        if kind == b"take":
            return self._taken(connection, rest)
        if kind == b"show":
            left = max(0.0, self.until - time.monotonic())
            terms = self.terms
            numbers = f"{left:.0f} {time.monotonic() - BEGAN:.0f} {terms['ranks']}"
            words = f"{numbers} {','.join(terms['modules'])} {terms['script']}"
            connection.send(words.encode(errors="replace")[:LONGEST])
        elif kind == b"stop":
            self._leave()
            connection.send(b"stopped")
            self.end()
        return False

    def _taken(self, connection: Any, digest: bytes) -> bool:
        if digest != self.terms["digest"]:
            connection.send(b"other")
            return False
        why = self.files.changed()
        if self.preferred and preferred(self.preferred) != FIRST:
            why = why or "the kernel's choice when memory runs out"
        connection.send(f"dropped {why}".encode(errors="replace")[:LONGEST] if why else b"taken")
        if why:
            self.end()
        return True

    def _leave(self) -> None:
        """Listen no longer."""
        try:
            os.unlink(self.terms["path"])
        except OSError:
            pass
        self.socket.close()

    def end(self) -> NoReturn:
        """End this process."""
        self._leave()
        os._exit(0)


def preferred(score: bytes) -> bytes:
    """Set how much the kernel prefers this process when it kills; return what it was, or nothing if that can't be."""
    try:
        with open("/proc/self/oom_score_adj", "r+b", buffering=0) as file:
            before = file.read().strip()
            file.write(score)
    except OSError:
        return b""
    return before


def pressed(root: str = "/proc") -> bool:
    """Return whether memory is scarce."""
    try:
        with open(f"{root}/meminfo", "rb") as file:
            facts = dict(line.split(b":", 1) for line in file.read().splitlines())
        if int(facts[b"MemAvailable"].split()[0]) < LEAST * int(facts[b"MemTotal"].split()[0]):
            return True
        with open(f"{root}/pressure/memory", "rb") as file:
            return float(file.read().partition(b"full avg10=")[2].split()[0]) >= STALLED
    except (OSError, ValueError, KeyError, IndexError):
        return False  # this kernel doesn't report it
