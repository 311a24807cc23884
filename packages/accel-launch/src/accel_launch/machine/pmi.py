"""PMI, version 1: the process manager of MPICH and Intel MPI (Hydra) gives each rank the host of rank 0.

Rank 0 puts its host, all ranks wait at a barrier, and each gets it. We speak the protocol like a program that calls
MPI: lines of ``cmd=NAME KEY=VALUE …`` over the socket in ``PMI_FD``. The program may call MPI later over the same
socket; `accel_launch.ranks.parent` finalizes the connection when the program ends.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache

from accel_launch.ranks.managers import INIT, Closed, ask, descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ARRIVAL = 120.0  # seconds until the ranks of all machines have reached the barrier
KEY = "accel-main"
# The name of this machine in Hydra: the one that the user typed, so that the other machines can reach it.
HOSTS = ("PMI_HOSTNAME", "HYDRA_BSTRAP_LOCALHOST")


def meet(environ: Mapping[str, str], rank: int) -> tuple[str, str] | None:
    """Return the host of rank 0 and a unique name of the run; None if no manager answers."""
    fd = descriptor(environ)
    return None if fd is None else _exchange(fd, _own_name(environ) if rank == 0 else "")


def _own_name(environ: Mapping[str, str]) -> str:
    for name in HOSTS:
        host = environ.get(name, "")
        if host and host != "localhost" and not host.startswith("127.") and host != "::1":
            return host
    import socket

    return socket.gethostname()


@cache  # the ranks can do this only once
def _exchange(fd: int, name: str) -> tuple[str, str] | None:
    """Put our ``name`` if we are rank 0, wait for all ranks, and get rank 0's."""
    import atexit

    try:
        ask(fd, INIT)
        atexit.register(leave, fd)  # if this process ends without becoming its rank
        space = ask(fd, "get_my_kvsname")["kvsname"]
        if name:
            ask(fd, f"put kvsname={space} key={KEY} value={name}")
        ask(fd, "barrier_in", ARRIVAL)
        return ask(fd, f"get kvsname={space} key={KEY}")["value"], space
    except (Closed, KeyError):
        return None


def leave(fd: int) -> None:
    """Finalize the connection; otherwise the manager ends all ranks when this process ends."""
    with suppress(Closed):
        ask(fd, "finalize")
