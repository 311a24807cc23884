"""Parked processes between two launches: this user's, on this machine, each at a socket in a private folder.

The other side is in ``ranks/fork_server/warmth.py``. Nothing of the launch is on disk: a process is asked whether it
was parked by the same launch, with a digest that only it compares.
"""

from __future__ import annotations

import os
import stat
import time

from accel_config.record import Record
from accel_launch.machine import files
from accel_launch.ranks.system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

PATIENCE, SHORTEST = 3.0, 0.1  # seconds for all processes to answer, and for one where others have used these up
MOST = 4  # processes that wait at the same time
LONGEST = 4096  # bytes of an answer
PRIVATE = 0o700


class Warm(Record):
    """A process that waits for the next launch."""

    pid: int
    modules: tuple[str, ...]
    """What it has imported."""
    seconds: float
    """Seconds until it ends."""
    memory: int
    """Bytes that it holds; what it shares with others counts in part."""
    age: float
    """Seconds since it has begun to import."""
    ranks: int
    """How many ranks are forked from it."""
    script: str
    """The script or module that they run."""


def home(environ: Mapping[str, str]) -> str:
    """Return the folder of this machine's sockets; it needn't exist."""
    return files.state(environ, "warm", os.uname().nodename)


def make(environ: Mapping[str, str]) -> tuple[str, Any]:
    """Return the path of a new socket, and the socket, bound to it.

    Raises:
        OSError: it can't be made, or others could use the folder.
    """
    from _socket import AF_UNIX, SOCK_SEQPACKET, socket

    folder = home(environ)
    os.makedirs(folder, mode=PRIVATE, exist_ok=True)
    where = _opened(folder)
    try:
        made = socket(AF_UNIX, SOCK_SEQPACKET)
        name = f"{os.getpid()}-{os.urandom(4).hex()}"
        made.bind(f"/proc/self/fd/{where}/{name}")  # a path may be longer than an address can be
    finally:
        os.close(where)
    return os.path.join(folder, name), made


def take(digest: bytes, environ: Mapping[str, str]) -> tuple[Any, str]:
    """Return the connection to a process that the same launch has parked, and why one could not be used.

    The connection is None if there is no such process. It is this launch's alone from now on.
    """
    why = ""
    for connection in _each(environ):
        answer = _asked(connection, b"take " + digest)
        if answer == b"taken":
            return connection, ""
        kind, _, rest = answer.partition(b" ")
        if kind == b"dropped":
            why = rest.decode(errors="replace")
        connection.close()
    return None, why


def waiting(environ: Mapping[str, str]) -> list[Warm]:
    """Return this user's processes that wait for a launch on this machine."""
    found: list[Warm] = []
    for connection in _each(environ):
        words = _asked(connection, b"show").decode(errors="replace").split(" ", 4)
        if len(words) == 5 and all(word.isdecimal() for word in words[:3]):  # noqa: PLR2004
            seconds, age, ranks, modules, script = words
            pid = calls.peer(connection)[0]
            known = tuple(modules.split(","))
            found.append(Warm(pid, known, float(seconds), _memory(pid), float(age), int(ranks), script))
        connection.close()
    return found


def limit(environ: Mapping[str, str]) -> None:
    """End the oldest processes that wait, where there are more than enough: each launch that differs leaves one."""
    stop(environ, MOST)


def stop(environ: Mapping[str, str], spared: int = 0) -> list[int]:
    """End this user's processes that wait on this machine, but the newest ``spared``; return their pids."""
    found: list[int] = []
    for place, connection in enumerate(_each(environ)):
        if place < spared:
            connection.close()
            continue
        pid = calls.peer(connection)[0]
        if _asked(connection, b"stop") == b"stopped":
            found.append(pid)
        connection.close()
    return found


def _opened(folder: str) -> int:
    """Open the folder, which must be ours alone.

    Raises:
        OSError: it is absent, or others could use it.
    """
    fd = os.open(folder, calls.FOLDER | os.O_NOFOLLOW)
    seen = os.fstat(fd)
    if seen.st_uid != os.getuid() or stat.S_IMODE(seen.st_mode) != PRIVATE:
        os.close(fd)
        raise PermissionError(f"{folder} isn't private")
    return fd


def _each(environ: Mapping[str, str]) -> Iterator[Any]:
    """Yield a connection to each process, the newest first; sockets that nobody listens at are removed.

    One that doesn't answer, because it is stopped, holds up the caller only for a limited time in all.
    """
    if not calls.ADOPTS:  # then nothing is parked
        return
    from _socket import AF_UNIX, SOCK_SEQPACKET, socket

    try:
        folder = _opened(home(environ))
    except OSError:
        return
    try:
        listed = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
        try:
            names = sorted(os.listdir(listed), key=lambda name: _made(name, listed), reverse=True)
        finally:
            os.close(listed)
        until = time.monotonic() + PATIENCE
        for name in names:
            connection = socket(AF_UNIX, SOCK_SEQPACKET)
            connection.settimeout(max(SHORTEST, min(PATIENCE / 2, until - time.monotonic())))
            try:
                connection.connect(f"/proc/self/fd/{folder}/{name}")
            except ConnectionRefusedError:
                if not os.path.exists(
                    f"/proc/{name.partition('-')[0]}"
                ):  # the launcher that made it has handed it over
                    _remove(name, folder)
            except OSError:
                pass  # it has just ended
            else:
                if calls.peer(connection)[1] == os.getuid():
                    yield connection
                    continue
            connection.close()
    finally:
        os.close(folder)


def _made(name: str, folder: int) -> float:
    try:
        return os.stat(name, dir_fd=folder).st_mtime
    except OSError:
        return 0.0


def _remove(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        pass


def _asked(connection: Any, question: bytes) -> bytes:
    """Ask, and return the answer; an empty one if there is none."""
    from _socket import MSG_NOSIGNAL

    try:
        connection.send(question, MSG_NOSIGNAL)
        return connection.recv(LONGEST)
    except OSError:
        return b""


def _memory(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:")), 0)
    except OSError:
        return 0
