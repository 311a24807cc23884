"""Who has asked a launcher something: whether it is still there, and what becomes of its question if it isn't.

Reading every thread of a run can take half a minute. Were that done to its end for commands that were interrupted,
those who ask later would wait for it, as only a few questions are answered at a time.
"""

from __future__ import annotations

import os
import select

from accel_launch.ranks.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def gone(fd: int) -> bool:
    """Return whether who is connected has closed the connection; one that has only ended its question listens on."""
    poller = select.poll()
    poller.register(fd, 0)  # the end is told unasked
    return bool(poller.poll(0))


def end_without(fd: int) -> None:
    """End this process as soon as who is connected has gone, and what it has started: the system sends a signal then.

    What is started must be of the kind that may be killed at any time, as `py-spy` and the copier of threads are.
    """
    import fcntl

    def look(*_signal: Any) -> None:
        if gone(fd):
            _end()

    signal.signal(signal.SIGIO, look)
    try:
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    except OSError:  # a system without: the question is answered to nobody
        return
    look()


def go_on() -> None:
    """Go on from now to the end, whoever goes."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)


def _end() -> None:
    """End, once what was started is collected: a launcher that inherits it never would."""
    from accel_launch.machine import process_tree

    go_on()  # it is looked at once

    try:
        process_tree.kill_tree(os.getpid(), process_tree.reap)
    finally:
        os._exit(0)
