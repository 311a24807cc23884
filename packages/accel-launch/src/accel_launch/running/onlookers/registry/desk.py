"""Where a launcher answers questions about its run: a socket in the run's folder, a line of JSON each way.

Each question is answered by a fork of the launcher, so nothing that a question takes holds up the ranks' output. The
fork ends with who asked.
"""

from __future__ import annotations

import os

from accel_launch.machine import forks
from accel_launch.ranks.system import calls
from accel_launch.running.onlookers import asker
from accel_launch.running.onlookers.registry.folder import SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from accel_launch.running.onlookers.registry.folder import Folder

MOST = 4  # questions that are answered at a time
LONGEST = 1 << 16  # bytes of a question
MOST_PIECES = 1 << 10  # to take of a question that is too long
PATIENCE = 5  # seconds for a client to ask
READS = 60  # seconds for a client to read the answer
TO_SEND = "to send"  # in an answer: the signal that the launcher gets once the answer is written


class Desk:
    """The launcher's side of the socket."""

    def __init__(
        self,
        folder: Folder,
        answer: Callable[[Mapping[str, Any], Any], Mapping[str, Any]],
        prepare: Callable[[], Any] = lambda: None,
    ) -> None:
        """Listen; ``answer`` is called in a fork, with what ``prepare`` returned in the launcher before.

        Raises:
            OSError: the socket can't be made.
        """
        from _socket import AF_UNIX, SOCK_STREAM, socket  # the module around it is slow to import

        self.folder, self.answer, self.prepare = folder, answer, prepare
        self.workers: list[int] = []
        self.socket = socket(AF_UNIX, SOCK_STREAM)
        calls.reach(folder.path, SOCKET, self.socket.bind)
        self.socket.listen(MOST)
        self.socket.setblocking(False)

    @property
    def due(self) -> float | None:
        """Seconds until a fork may have to be collected."""
        return 0.2 if self.workers else None

    def step(self, poller: select.poll, ready: Sequence[tuple[int, int]]) -> None:
        """Answer who asks."""
        if self.workers:
            self.workers = [pid for pid in self.workers if not forks.ended(pid)]
        # Registered anew each time: with as many questions open as are answered at a time, others wait.
        poller.register(self.socket.fileno(), 1 if len(self.workers) < MOST else 0)
        if self.socket.fileno() not in dict(ready):
            return
        try:
            fd = _accepted(self.socket)
        except OSError:
            return
        if asker.gone(fd):  # it had to wait, and didn't want to
            os.close(fd)
            return
        prepared = self.prepare()
        try:
            pid = forks.fork()
        except OSError:
            os.close(fd)
            return
        if pid == 0:
            try:
                _serve(fd, lambda question: self.answer(question, prepared), os.getppid())
            finally:
                os._exit(0)
        os.close(fd)
        self.workers.append(pid)

    def close(self, poller: select.poll) -> None:
        """Stop listening."""
        poller.register(self.socket.fileno(), 0)
        poller.unregister(self.socket.fileno())
        self.socket.close()
        try:
            os.unlink(os.path.join(self.folder.path, SOCKET))
        except OSError:
            pass
        self.dismiss()

    def dismiss(self) -> None:
        """End the forks that answer now; who asked hears nothing."""
        for pid in self.workers:
            forks.end(pid)
        self.workers.clear()


def _object(asked: Any) -> Any:
    if not isinstance(asked, dict):
        raise ValueError('a question is a JSON object, such as {"ask": "state"}')
    return asked  # pyright: ignore[reportUnknownVariableType]


def _drain(client: Any) -> None:
    """Take what else is sent, within limits: who still sends would be cut off before the answer is read."""
    client.settimeout(PATIENCE)
    try:
        for _ in range(MOST_PIECES):
            if not client.recv(LONGEST):
                return
    except OSError:
        pass


def _accepted(listening: Any) -> int:
    """Return the descriptor of a client; the module `socket` wraps it in an object, `_socket` doesn't."""
    fd: int = listening._accept()[0]
    return fd


def _serve(fd: int, answer: Callable[[Mapping[str, Any]], Mapping[str, Any]], launcher: int) -> None:
    """Read a question, and write the answer; in a fork of the launcher."""
    import json
    import socket

    from accel_launch.running.onlookers.forking import become_onlooker

    become_onlooker(launcher, b"accel-desk")
    with socket.socket(fileno=fd) as client:
        client.settimeout(PATIENCE)
        asker.end_without(fd)
        question = b""
        while not question.endswith(b"\n") and len(question) < LONGEST:
            data = client.recv(LONGEST)
            if not data:
                return
            question += data
        try:
            if not question.endswith(b"\n"):
                raise ValueError(f"a question is a line of at most {LONGEST} bytes")
            answered = answer(_object(json.loads(question)))
        except (ValueError, RecursionError) as error:
            answered = {"error": str(error)}
        except Exception as error:  # else who asks would take the launcher for dead
            answered = {"error": f"{type(error).__name__}: {error}"}
        asker.go_on()  # what was asked for may have been done, such as to send a signal
        client.settimeout(READS)
        number: Any = answered.get(TO_SEND)
        client.sendall(
            json.dumps({name: value for name, value in answered.items() if name != TO_SEND}).encode() + b"\n"
        )
        client.shutdown(socket.SHUT_WR)
        _drain(client)
    if number is not None:  # not before it is answered: a launcher that ends dismisses who answers
        os.kill(launcher, number)
