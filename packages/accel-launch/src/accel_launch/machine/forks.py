"""Forks of the launcher itself, which it alone collects, as pid 1 too."""

from __future__ import annotations

import os
import time

from accel_launch.ranks.signals import signal

SHORTEST, LONGEST = 0.0002, 0.5  # seconds of a pause while a fork is awaited that was killed

ours: set[int] = set()
"""Those that aren't collected yet."""


def fork() -> int:
    """Fork; return the pid, or 0 in the fork.

    Raises:
        OSError: the system has no process left.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # until it is known as ours
    try:
        pid = os.fork()
        if pid:
            ours.add(pid)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def ended(pid: int) -> bool:
    """Return whether a fork has ended by itself; it is collected then."""
    if os.waitpid(pid, os.WNOHANG)[0] == 0:
        return False
    ours.discard(pid)
    return True


def end(pid: int) -> None:
    """Kill a fork, and collect it, unless the kernel holds it up."""
    os.kill(pid, signal.SIGKILL)
    pause = SHORTEST
    while not ended(pid) and pause < LONGEST:
        time.sleep(pause)
        pause *= 2
