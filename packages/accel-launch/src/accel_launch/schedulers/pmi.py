"""The process manager of MPICH and Intel MPI (Hydra) tells each rank where rank 0 is, if rank 0 says so first.

Spoken as a program that calls MPI would: PMI, version 1, lines of ``cmd=NAME KEY=VALUE …`` over the socket that
``PMI_FD`` names. The program may call MPI afterwards over the same socket; `accel_launch.rank` takes leave of the
manager at its end.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ANSWER = 10.0  # seconds for a process manager on this machine
ARRIVAL = 120.0  # seconds for the ranks of all machines to come so far
KEY = "accel-main"
# How Hydra calls a machine: as its user did, so that the others can reach it by that name.
HOSTS = ("PMI_HOSTNAME", "HYDRA_BSTRAP_LOCALHOST")


class Closed(Exception):
    """The manager doesn't talk to us."""


def met(environ: Mapping[str, str], rank: int) -> tuple[str, str] | None:
    """Return the host of rank 0 and a name of the run that no other has; None where no manager tells it."""
    told = environ.get("PMI_FD", "")
    if not told.isdecimal() or not _socket(int(told)):
        return None
    return _meet(int(told), _own_name(environ) if rank == 0 else "")


def _socket(fd: int) -> bool:
    """Whether ``fd`` is a socket: a process between us and the manager may have closed it, and opened a file."""
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False


def _own_name(environ: Mapping[str, str]) -> str:
    for name in HOSTS:
        host = environ.get(name, "")
        if host and host != "localhost" and not host.startswith("127.") and host != "::1":
            return host
    import socket

    return socket.gethostname()


@cache  # the ranks come together once
def _meet(fd: int, name: str) -> tuple[str, str] | None:
    """Say our ``name`` if we are rank 0, wait for all, and ask for rank 0's."""
    import atexit

    try:
        _ask(fd, "init pmi_version=1 pmi_subversion=1")
        atexit.register(leave, fd)  # where this process ends without becoming its rank
        space = _ask(fd, "get_my_kvsname")["kvsname"]
        if name:
            _ask(fd, f"put kvsname={space} key={KEY} value={name}")
        _ask(fd, "barrier_in", ARRIVAL)
        return _ask(fd, f"get kvsname={space} key={KEY}")["value"], space
    except (Closed, KeyError):
        return None


def _ask(fd: int, words: str, within: float = ANSWER) -> dict[str, str]:
    """Return what the manager answers.

    Raises:
        Closed: nothing, or that it went wrong.
    """
    import select

    text = b""
    try:
        os.write(fd, f"cmd={words}\n".encode())
        while not text.endswith(b"\n"):
            if not select.select([fd], [], [], within)[0]:
                raise Closed
            got = os.read(fd, 1024)
            if not got:
                raise Closed
            text += got
    except OSError:
        raise Closed from None
    answer = dict(word.split("=", 1) for word in text.decode(errors="replace").split() if "=" in word)
    if answer.get("rc", "0") != "0":
        raise Closed
    return answer


def leave(fd: int) -> None:
    """Take leave, so that the manager doesn't end the others when this process ends."""
    with suppress(Closed):
        _ask(fd, "finalize")
