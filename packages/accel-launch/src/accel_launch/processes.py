"""What the kernel is asked about processes: adopt orphans, die with the parent, find and end a whole tree. Linux.

Elsewhere the same calls do what the system has: process groups and sessions, without adoption.
"""

from __future__ import annotations

import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36


def _prctl() -> Callable[[int, object], None]:
    if not LINUX:
        return lambda _option, _value: None
    import ctypes

    call = ctypes.CDLL(None, use_errno=True).prctl

    def prctl(option: int, value: object) -> None:
        argument = value if isinstance(value, bytes) else ctypes.c_ulong(int(str(value)))
        if call(option, argument, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)):
            raise OSError(ctypes.get_errno(), "prctl")

    return prctl


prctl = _prctl()  # made before any fork, so that a child needs no import


def sent_to_all(environ: Mapping[str, str]) -> frozenset[int]:
    """Return the signals that aren't ours to pass on: Slurm sends them to every process of its step, ranks too."""
    if "SLURM_STEP_ID" not in environ:
        return frozenset()
    from .schedulers.slurm import started_step

    return frozenset((signal.SIGUSR1, signal.SIGUSR2)) if started_step(environ) else frozenset()


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, also of one that left the session."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int) -> None:
    """Be killed when the thread that forked us ends; it may have ended already."""
    prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)


def children() -> dict[int, list[int]]:
    """Return the children of every process, by pid."""
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if LINUX else ():
        if name.isdecimal():
            parent = _parent(name)
            if parent is not None:
                found.setdefault(parent, []).append(int(name))
    return found


def _parent(pid: str) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name stands in parentheses and may hold anything, so the fields are counted from its end.
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None  # it is gone by now


def descendants(root: int) -> list[int]:
    """Return every process below ``root``."""
    below = children()
    found: list[int] = []
    waiting = [root]
    while waiting:
        own = below.get(waiting.pop(), [])
        found += own
        waiting += own
    return found


def title(pid: int) -> str:
    """Return what the process executes, shortened, for a message."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(400).replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "?"
    return words if len(words) <= 60 else words[:57] + "..."  # noqa: PLR2004


def tell(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def end_tree(root: int, reap: Callable[[], bool], spare: Collection[int] = (), limit: float = 10.0) -> None:
    """Kill everything below ``root`` but ``spare``, again and again until nothing is left.

    ``reap`` collects what has ended and says whether ``root`` has any child left to wait for. A process that forks
    faster than one look takes is met at the next look: its orphans are ours.
    """
    until = time.monotonic() + limit
    pause = 0.0005
    while time.monotonic() < until:
        living = [pid for pid in descendants(root) if pid not in spare]
        for pid in living:
            tell(pid, signal.SIGKILL)
        if not reap() or not living:
            return
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
