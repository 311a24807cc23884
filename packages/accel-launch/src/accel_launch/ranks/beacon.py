"""The rank-0 beacon: under Open MPI 4, rank 0 itself answers the ranks that look for its machine.

Nothing else knows where rank 0 is once mpirun was started on another machine.
``python beacon.py PORT ASKERS PID`` goes into the background of rank 0's machine and answers the other ranks, which
ask each machine that may have rank 0 until one answers. The beacon ends when all have asked, a few seconds after the
rank ``PID``, or after a minute. The program needs the standard library and the other files of this folder.

Both sides know each other by the random key that mpirun gives to its processes alone, in a variable. Nobody sends it:
the beacon sends a random word, the asker one of its own and an HMAC of both, the beacon another HMAC of both. A line
that was heard is worth nothing in another conversation. A conversation has a deadline, and none waits for another.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import select
import socket
import sys
import time
from functools import cache

KEY = "OMPI_MCA_orte_precondition_transports"  # 128 random bits of this mpirun
LIFE = 60.0  # seconds
LINGER = 3.0  # seconds after the rank is gone: one that only printed its plan ends before others have asked
ARRIVAL = 30.0  # seconds for rank 0's launcher to start after another one's
TURN = 1.0  # seconds for one conversation
PAUSE = 0.2  # seconds between two rounds
WORD = 16  # random bytes of each side
LONGEST = 200  # bytes of a line
MOST = 256  # conversations at once; a new one ends the oldest


@cache  # several plans may need the answer
def ask(hosts: tuple[str, ...], port: int) -> str | None:
    """Return the first of ``hosts`` whose beacon answers; None if none does in time, or mpirun gave us no key."""
    until = time.monotonic() + ARRIVAL
    while KEY in os.environ:
        for host in hosts:
            if _answers(host, port):
                return host
        if time.monotonic() > until:
            break
        time.sleep(PAUSE)
    return None


def _answers(host: str, port: int) -> bool:
    until = time.monotonic() + TURN
    try:
        with socket.create_connection((host, port), timeout=TURN) as connection:
            at, theirs, ours = connection.getpeername(), _line(connection, until), os.urandom(WORD).hex()
            connection.sendall(f"{ours} {_proof('ask', at, theirs, ours)}\n".encode())
            return hmac.compare_digest(_line(connection, until), _proof("here", at, theirs, ours))
    except (OSError, ValueError):
        return False


def _line(connection: socket.socket, until: float) -> str:
    """Return the next line of the other side, which says nothing more before we answer.

    Raises:
        OSError: it doesn't come in time.
        ValueError: it isn't one of a beacon.
    """
    received = b""
    while not received.endswith(b"\n"):
        connection.settimeout(max(0.001, until - time.monotonic()))
        more = connection.recv(LONGEST)
        received += more
        if not more or len(received) > LONGEST or time.monotonic() > until:
            raise ValueError(received)
    return received.decode("ascii").strip()


def _proof(what: str, at: tuple[object, ...], theirs: str, ours: str) -> str:
    """Return what only who has the key can make, of the words of the beacon and the asker.

    It holds for the beacon's address ``at`` alone, so that nobody can pass the conversation on to another machine.
    """
    host = str(at[0]).removeprefix("::ffff:").partition("%")[0]
    text = f"{what} {host} {at[1]} {theirs} {ours}"
    return hmac.new(os.environ[KEY].encode(), text.encode(), hashlib.sha256).hexdigest()


class Asker:
    """A conversation with who has dialed the beacon."""

    def __init__(self, connection: socket.socket) -> None:
        """Send our word."""
        self.connection, self.until = connection, time.monotonic() + TURN
        connection.setblocking(False)
        self.word, self.received = os.urandom(WORD).hex(), b""
        connection.send(f"{self.word}\n".encode())

    def hear(self) -> bool | None:
        """Return whether it is a rank of our mpirun, which then has its answer; None as long as that isn't clear."""
        self.received += self.connection.recv(LONGEST) or b"\n"
        if not self.received.endswith(b"\n"):
            return None if len(self.received) <= LONGEST else False
        theirs, _, proof = self.received.decode("ascii").strip().partition(" ")
        at = self.connection.getsockname()
        if not hmac.compare_digest(proof, _proof("ask", at, self.word, theirs)):
            return False
        self.connection.send(f"{_proof('here', at, self.word, theirs)}\n".encode())
        return True


class Beacon:
    """Answers until all have asked, or their time is over."""

    def __init__(self, server: socket.socket, askers: int, pid: int) -> None:
        """Take a listening socket, how many ranks will ask, and the process of rank 0."""
        self.server, self.askers, self.pid = server, askers, pid
        self.open: dict[int, Asker] = {}
        """The conversations by descriptor, the oldest first."""
        server.setblocking(False)

    def run(self) -> None:
        """Answer."""
        until, gone = time.monotonic() + LIFE, False
        while self.askers > 0 and time.monotonic() < until:
            poller = select.poll()
            for fd in (self.server.fileno(), *self.open):
                poller.register(fd, select.POLLIN)
            ready = dict(poller.poll(TURN * 1000))
            for fd in [fd for fd in ready if fd in self.open]:
                self._hear(fd)
            if self.server.fileno() in ready:
                self._accept()
            for fd in [fd for fd, asker in self.open.items() if time.monotonic() > asker.until]:
                self._end(fd)
            if not gone and not os.path.exists(f"/proc/{self.pid}"):
                gone, until = True, min(until, time.monotonic() + LINGER)

    def _accept(self) -> None:
        try:
            connection, _address = self.server.accept()
        except OSError:
            return
        if len(self.open) >= MOST:
            self._end(next(iter(self.open)))
        try:
            self.open[connection.fileno()] = Asker(connection)
        except OSError:
            connection.close()

    def _hear(self, fd: int) -> None:
        try:
            known = self.open[fd].hear()
        except BlockingIOError:
            return
        except (OSError, ValueError, TypeError):  # TypeError: what isn't ASCII can't be compared
            known = False
        if known is not None:
            self.askers -= known
            self._end(fd)

    def _end(self, fd: int) -> None:
        self.open.pop(fd).connection.close()


def serve(port: int, askers: int, pid: int) -> None:
    """Answer on ``port`` from the background; return as soon as the port listens.

    Raises:
        OSError: the port can't be used, or mpirun gave us no key.
    """
    from listening import bind

    if KEY not in os.environ:
        raise OSError(f"{KEY} isn't set")
    server = bind(port, backlog=1024)
    if os.fork():
        return
    os.setsid()
    for stream in (0, 1, 2):  # a reader of our streams must not wait for this process
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    Beacon(server, askers, pid).run()
    os._exit(0)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # -I and -P leave it out
    serve(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.write("listening\n")
