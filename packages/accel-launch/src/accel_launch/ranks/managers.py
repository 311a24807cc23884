"""Dialogues with process managers of MPI, as a program that calls MPI would hold them.

That with Hydra (MPICH, Intel MPI) is PMI, version 1: lines of ``cmd=NAME KEY=VALUE ...`` over the socket whose
descriptor ``PMI_FD`` names.

The one with Open MPI 5 (PRRTE) is PMIx, and a question: on which host is rank 0? ``python managers.py LIBRARY`` asks
through the manager's own library, so any installed version fits. That is a process of its own, because the library
starts threads and may end the process that loads it. It takes leave of the manager at its end; the rank can call MPI
afterwards.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST = 9  # digits of a descriptor
ANSWER = 10.0  # seconds for a process manager on this machine
LAST = 2.0  # seconds for it when a rank has ended
INIT = "init pmi_version=1 pmi_subversion=1"
LIBRARY = "libpmix.so"  # as the manager has loaded it; see accel_launch.machine.host
HOST = b"pmix.hname"  # PMIX_HOSTNAME
STRING = 3  # PMIX_STRING
NAMESPACE = 256  # PMIX_MAX_NSLEN, and the zero


class Closed(Exception):
    """Hydra doesn't answer, or refuses."""


def descriptor(environ: Mapping[str, str]) -> int | None:
    """Return the descriptor of the socket to Hydra; None if there is none.

    A process between this one and Hydra may have closed the socket and opened a file of that number.
    """
    import stat

    number = environ.get("PMI_FD", "")
    if not number.isdecimal() or len(number) > LONGEST:
        return None
    try:
        return int(number) if stat.S_ISSOCK(os.fstat(int(number)).st_mode) else None
    except OSError:
        return None


def ask(fd: int, command: str, within: float = ANSWER) -> dict[str, str]:
    """Send a command and return the answer, which must come within so many seconds.

    Raises:
        Closed: there is no answer, or it reports a failure.
    """
    import select

    text = b""
    try:
        os.write(fd, f"cmd={command}\n".encode())
        while not text.endswith(b"\n"):
            if not select.select([fd], [], [], within)[0]:
                raise Closed
            received = os.read(fd, 1024)
            if not received:
                raise Closed
            text += received
    except OSError:
        raise Closed from None
    answer = dict(word.split("=", 1) for word in text.decode(errors="replace").split() if "=" in word)
    if answer.get("rc", "0") != "0":
        raise Closed
    return answer


def leave(environ: dict[str, str], status: int) -> None:
    """Take leave of Hydra (MPICH, Intel MPI), so that it ends the other ranks if this one failed.

    By itself it ends them only if the program has called MPI; otherwise they wait for this rank for ever. If the
    launcher has talked to it (`accel_launch.machine.pmi`), it needs to know about a good end as well.
    """
    fd = descriptor(environ)
    if fd is None or "MPI_LOCALRANKID" not in environ:
        return
    for command in (INIT, f"abort exitcode={status if status > 0 else 128 - status}" if status else "finalize"):
        try:
            ask(fd, command, LAST)
        except Closed:
            continue  # it is gone, or kills this process in a moment, or the program has taken leave already


def first_host(path: str) -> str:
    """Return the host of rank 0 of this run, as the library at ``path`` knows it.

    Raises:
        OSError: the library can't be loaded, or the manager doesn't answer.
    """
    import ctypes

    class Proc(ctypes.Structure):
        _fields_ = (("nspace", ctypes.c_char * NAMESPACE), ("rank", ctypes.c_uint32))

    class Value(ctypes.Structure):
        _fields_ = (("type", ctypes.c_uint16), ("text", ctypes.c_char_p))

    pmix = ctypes.CDLL(path)
    nothing, first, value = ctypes.c_size_t(0), Proc(), ctypes.POINTER(Value)()
    if pmix.PMIx_Init(ctypes.byref(first), None, nothing) != 0:
        raise OSError("the manager doesn't answer")
    try:
        first.rank = 0
        failed = pmix.PMIx_Get(ctypes.byref(first), HOST, None, nothing, ctypes.byref(value))
        if failed or value.contents.type != STRING:
            raise OSError("the manager doesn't know")
        return bytes(value.contents.text).decode()
    finally:
        pmix.PMIx_Finalize(None, nothing)


if __name__ == "__main__":
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what the library prints is no answer
    sys.stdout.write(first_host(sys.argv[1]) + "\n")
