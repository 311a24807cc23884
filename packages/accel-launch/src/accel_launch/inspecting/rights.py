"""Which right is missing where another process's memory can't be read.

The kernel only says that it isn't permitted. What it asks are the two processes' users, whether the other one lets
itself be read, its capabilities, and Yama. A seccomp filter of this process, such as that of old versions of Docker,
only refuses to stop it: py-spy then reads ``/proc/PID/mem``.
"""

from __future__ import annotations

import errno
import os

from accel_launch.inspecting import kernel
from accel_launch.ranks.system import calls

YAMA = "/proc/sys/kernel/yama/ptrace_scope"
RELATED, PRIVILEGED = "1", "2"  # values of Yama's setting; 3 permits nothing to nobody
CAPABILITY = "give this container or process the capability SYS_PTRACE"
DETACH, NOBODY = 17, 0  # a request of ptrace that changes nothing, and a pid that no process has


def missing(pid: int, *, native: bool = False) -> str:
    """Return why a process of this machine can't be read, with ``native`` stopped as well, and what permits it."""
    if native and _filtered():
        return f"a seccomp filter refuses ptrace, which --native needs; {CAPABILITY}, or another seccomp profile"
    if native and (tracer := kernel.tracer(pid)):
        return f"another program (pid {tracer}) traces it, and --native needs to be the only one"
    try:
        owner = os.stat(f"/proc/{pid}/stat").st_uid  # root if it can't be read; that of the folder tells nothing
    except OSError:
        return "it has ended"
    real = int(_field(pid, "Uid") or -1)
    if real not in (-1, os.geteuid()):
        return f"it runs as another user (uid {real}); {CAPABILITY}"
    if owner != real != -1:
        return f"it doesn't let itself be read (PR_SET_DUMPABLE); {CAPABILITY}"
    scope = _text(YAMA).strip()
    if scope == RELATED:
        return f"kernel.yama.ptrace_scope is 1: ranks can be read, their children can't; set it to 0, or {CAPABILITY}"
    if scope == PRIVILEGED:
        return f"kernel.yama.ptrace_scope is 2; set it to 1 or 0, or {CAPABILITY}"
    if scope not in ("", "0"):
        return f"kernel.yama.ptrace_scope is {scope}, until this machine is restarted; set it to 1 or 0 at its start"
    if int(_field(pid, "CapPrm") or "0", 16) & ~int(_field(os.getpid(), "CapPrm") or "0", 16):
        return f"it has capabilities that this process lacks; {CAPABILITY}"
    return f"perhaps it doesn't let itself be read (PR_SET_DUMPABLE), or is in another user namespace; {CAPABILITY}"


def _filtered() -> bool:
    """Return whether a filter refuses this process to trace: without one, the kernel looks for the process first."""
    if not calls.LOOKS:
        return False
    import ctypes

    kernel = ctypes.CDLL(None, use_errno=True)
    none = ctypes.c_void_p(None)
    kernel.ptrace(ctypes.c_long(DETACH), ctypes.c_long(NOBODY), none, none)
    return ctypes.get_errno() != errno.ESRCH


def _field(pid: int, name: str) -> str:
    """Return what the kernel tells of a process by this name, its first word; empty if that isn't known."""
    for line in _text(f"/proc/{pid}/status").split("\n"):
        if line.startswith(f"{name}:"):
            return line.split()[1]
    return ""


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
