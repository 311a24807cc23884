"""Processes that a check has started, however deep: they all end with it."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
LAST = 20.0
"""Seconds for killed processes to be gone: the driver takes back the memory of each first."""
STUCK: set[int] = set()
"""Those that weren't gone by then; nobody waits for them again."""


def adopt() -> None:
    """Become the parent of what is left of any descendant, so that nothing gets away."""
    ctypes.CDLL(None, use_errno=True).prctl(SUBREAPER, 1, 0, 0, 0)


def parents() -> dict[int, tuple[int, str]]:
    """Return the parent and the state of each process."""
    found: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            found[int(folder.name)] = int(parent), state
    return found


def below(top: int) -> dict[int, str]:
    """Return the state of each descendant of a process."""
    known, found, new = parents(), dict[int, str](), {top}
    while new:
        new = {pid for pid, (parent, _state) in known.items() if parent in new and pid not in found}
        found |= {pid: known[pid][1] for pid in new}
    return found


def reap(but: int = 0) -> bool:
    """Collect children that have ended; return whether ``but`` is one of them, which stays."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        if ended is None:
            return False
        if ended.si_pid == but:
            return True
        os.waitpid(ended.si_pid, 0)


def wait(child: subprocess.Popen[str], seconds: float) -> bool:
    """Wait for a child while collecting what is left of its descendants; return whether it ended in time."""
    until = time.monotonic() + seconds
    while not reap(but=child.pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    child.wait()
    return True


def end_all() -> list[int]:
    """Kill all descendants of this process; return those that didn't go, once each."""
    until = time.monotonic() + LAST
    while True:
        reap()
        left = [pid for pid, state in below(os.getpid()).items() if state != "Z" and pid not in STUCK]
        if not left or time.monotonic() > until:
            STUCK.update(left)
            return left
        held = [(pid, opened) for pid in left if (opened := _open(pid)) is not None]
        ours = below(os.getpid())
        for pid, opened in held:
            if pid in ours:  # it hasn't been collected meanwhile, and the pid given to another
                signal.pidfd_send_signal(opened, signal.SIGKILL)
            os.close(opened)
        time.sleep(0.05)


def _open(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
