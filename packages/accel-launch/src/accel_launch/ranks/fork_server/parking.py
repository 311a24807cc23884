"""The parked process: a copy of the fork server that has imported everything and runs nothing.

It forks the ranks of later attempts. A process can't become another one's child, so it forks their guardian as
well: the keeper, from it the guardian, from that the ranks; then keeper and guardian turn into the launcher's
programs by an exec, which leaves them their children. So the ranks belong to their guardian alone, as those of the
first attempt do.

It belongs to whoever holds the other end of its socket, and ends with it. A launcher that ends can hand it a
listening socket instead (`warmth`), from which the next launch takes it over.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VARIABLE = b"ACCEL_FORK_SERVER="
MARK = b"ACCEL_DAEMON=1"
"""In a process of another session it tells every guardian above that this one isn't a rank's and may stay."""
PR_SET_NAME = 15
ENV_START = 47  # the place of this field in /proc/PID/stat, counted from the one after the name
MOST = 250  # descriptors in one message; the kernel takes 253
LONGEST = 4096  # bytes of a message


class Environ:
    """The variable that made Python start the fork server, where the kernel shows it as part of the environment."""

    def __init__(self) -> None:
        """Find it; nothing uses its place any more, since it was removed from the environment."""
        with open("/proc/self/environ", "rb") as file:
            block = file.read()
        with open("/proc/self/stat", "rb") as file:
            start = int(file.read().rpartition(b")")[2].split()[ENV_START])
        place = block.index(VARIABLE)
        self.original = block[place : block.index(b"\0", place)]
        self.address = start + place

    def mark(self) -> None:
        """Show that this process may stay."""
        self._write(MARK)

    def restore(self) -> None:
        """Show what was there."""
        self._write(self.original)

    def _write(self, text: bytes) -> None:
        import ctypes

        ctypes.memmove(self.address, text.ljust(len(self.original), b"\0"), len(self.original))


class Parked:
    """Waits for orders to start ranks."""

    def __init__(self, server: Any, control: int) -> None:
        """Take the fork server, whose copy this is to be, and the descriptor of the socket; in the fork server."""
        before = set(sys.modules)
        import _socket

        signals: Any = __import__("_signal")  # `signal` imports enum, which a rank would then find imported

        self.server, self.descriptor, self.signals, self.sockets = server, control, signals, _socket
        for name in set(sys.modules) - before:
            del sys.modules[name]
        self.control: Any = None
        self.waiting: Any = None
        self.environ = Environ()
        self.name = b""
        ours = {control, server.events, server.gate, *(fd for one in server.ranks for fd in one["streams"])}
        listed = {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2} - ours
        self.given = {fd for fd in listed if self.server.starting.is_open(fd)}  # without that of the listing
        """Descriptors from whoever started the launcher: each launch passes on its own."""

    def fork(self) -> int | None:
        """Fork the copy that stays; return None in this process, and in later ranks their local rank."""
        self.environ.mark()  # before it has a session of its own, from which on it counts
        reader, writer = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            pid = -1
        if pid == 0:
            os.close(reader)
            return self.settle(writer)
        os.close(writer)
        os.read(reader, 1)  # it has left the guardian's session, so the end of this attempt isn't its own
        os.close(reader)
        self.environ.restore()
        os.close(self.descriptor)
        return None

    def settle(self, left: int) -> int:
        """Let go of all that is the first attempt's, and wait; return the local rank in a rank of a later one."""
        try:
            os.setsid()
            os.close(left)
            self._detach()
            return self._serve()
        except BaseException:
            os._exit(1)

    def _detach(self) -> None:
        streams = {fd for one in self.server.ranks for fd in one["streams"]}
        for fd in {self.server.events, self.server.gate, *streams, *self.given}:
            os.close(fd)
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(nothing, fd, inheritable=True)
        os.close(nothing)
        with open("/proc/self/comm", "rb") as file:
            self.name = file.read().rstrip(b"\n")
        self.server.prctl.prctl(PR_SET_NAME, b"accel-parked")
        self.children = self.signals.signal(self.signals.SIGCHLD, self.signals.SIG_IGN)  # the kernel collects them
        os.set_inheritable(self.descriptor, False)
        self.control = self.sockets.socket(self.sockets.AF_UNIX, self.sockets.SOCK_SEQPACKET, 0, self.descriptor)

    def _serve(self) -> int:
        while True:
            if self.waiting is not None:
                self.control = self.waiting.client()
                self.waiting = None
            kind, fds = self.receive(self.control)
            if kind == b"start":
                local_rank = self._start(fds)
                if local_rank is not None:
                    return local_rank
            elif kind == b"stay":
                self._stay(fds)
            else:
                os._exit(0)

    # Messages.

    def receive(self, connection: Any) -> tuple[bytes, list[int]]:
        """Return a message and all the descriptors that come with it; an empty one at the end."""
        text, fds = self._receive(connection)
        kind, _, count = text.partition(b" ")
        while len(fds) < int(count or b"0"):
            more, others = self._receive(connection)
            if not more:
                os._exit(0)
            fds += others
        return kind, fds

    def _receive(self, connection: Any) -> tuple[bytes, list[int]]:
        sockets = self.sockets
        room = sockets.CMSG_SPACE(4 * MOST)
        text, ancillary, _flags, _address = connection.recvmsg(LONGEST, room, sockets.MSG_CMSG_CLOEXEC)
        fds: list[int] = []
        for level, kind, data in ancillary:
            if level == sockets.SOL_SOCKET and kind == sockets.SCM_RIGHTS:
                fds += [int.from_bytes(data[at : at + 4], sys.byteorder) for at in range(0, len(data) - 3, 4)]
        return text, fds

    def answer(self, text: str) -> None:
        """Answer to whoever holds the other end."""
        self.control.send(text.encode(errors="replace")[:LONGEST])

    # Starting ranks.

    def _start(self, fds: list[int]) -> int | None:
        """Start a guardian and its ranks; return the local rank in each of these, and None in this process."""
        import marshal

        with os.fdopen(os.dup(fds[0]), "rb") as file:
            order: Any = marshal.load(file)  # noqa: S302  our own launcher's
        why = self.server.files.changed()
        if order["shared"] != self.server.shared:
            why = "the environment has changed"
        if why:
            self.answer(f"dropped {why}")
            os._exit(0)
        try:
            pid = os.fork()
        except OSError as error:
            pid = -1
            self.answer(f"refused {error.strerror}")
        if pid == 0:
            return self.server.starting.Start(self, order, fds).keep()
        for fd in fds:
            os.close(fd)
        if pid > 0:
            self.answer("started")
        return None

    # After the run.

    def _stay(self, fds: list[int]) -> None:
        """Wait for the next launch, at a listening socket."""
        import marshal

        with os.fdopen(fds[0], "rb") as file:
            terms: dict[str, Any] = marshal.load(file)  # noqa: S302  our own launcher's
        os.chdir("/")
        self.waiting = self.server.warmth.Waiting(self.sockets, self.server.files, terms, fds[1])
        self.answer("stays")
        self.control.close()
