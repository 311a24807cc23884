"""A question to the process manager of Open MPI 5 (PRRTE) by PMIx: on which host is rank 0?

``python pmix.py LIBRARY`` asks through the manager's own library, so any installed version fits. The program is a
process of its own, because the library starts threads and may end the process that loads it. It needs only the
standard library, and takes leave of the manager at its end; the rank can call MPI afterwards.
"""

from __future__ import annotations

import os
import sys

LIBRARY = "libpmix.so"  # as the manager has loaded it; see accel_launch.machine.host
HOST = b"pmix.hname"  # PMIX_HOSTNAME
STRING = 3  # PMIX_STRING
NAMESPACE = 256  # PMIX_MAX_NSLEN, and the zero


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
