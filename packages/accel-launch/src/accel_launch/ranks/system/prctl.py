"""What a process asks of Linux about itself: its death, its orphans, its name, who may read it, and its CPUs."""

from __future__ import annotations

import os
import sys

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER, PR_SET_PTRACER = 1, 15, 36, 0x59616D61
SIGKILL, EINVAL = 9, 22  # a preloaded rank would find imported what their modules import


def prctl(option: int, value: int | bytes) -> None:
    """Set an option of this process; do nothing on other systems.

    Raises:
        OSError: the kernel refuses.
    """
    if sys.platform != "linux":
        return
    try:  # what `ctypes` is made of; that takes four times as long to import
        from _ctypes import call_function, dlopen, dlsym

        refused = call_function(dlsym(dlopen(None, 0), "prctl"), (option, value, 0, 0, 0))  # pyright: ignore[reportArgumentType]  as for CDLL
    except ImportError:
        from ctypes import CDLL

        refused = CDLL(None).prctl(option, value, 0, 0, 0)
    if refused:
        raise OSError(EINVAL, "prctl")


def die_with(parent: int) -> None:
    """Let the kernel kill this process when the thread that forked it ends; exit if that has ended already."""
    prctl(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:
        os._exit(128 + SIGKILL)


def bind(cpus: str, pid: int = 0) -> str:
    """Bind this thread, or that of another process, to CPUs such as ``0-3,8``; return a line if that fails."""
    spans = [part.partition("-") for part in cpus.split(",") if part]
    try:
        if spans and sys.platform == "linux":
            os.sched_setaffinity(pid, {n for low, _, high in spans for n in range(int(low), int(high or low) + 1)})
    except OSError as error:
        return f"a rank can't be bound to the CPUs {cpus}: {error.strerror}\n"
    return ""


def bind_here(cpus: str) -> None:
    """Bind this process, before it becomes a rank; where that fails, print so."""
    why = bind(cpus)
    if why:
        os.write(2, f"accel: note: {why}".encode())


def let_read(launcher: int) -> None:
    """Let the launcher, and what it starts, read this process's memory where Yama permits that to ancestors alone.

    An exec keeps it, a fork doesn't. Other kernels refuse the option, and need none.
    """
    try:
        prctl(PR_SET_PTRACER, launcher)
    except OSError:
        pass
