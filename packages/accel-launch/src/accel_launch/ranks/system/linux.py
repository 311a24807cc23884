"""Linux: pidfds, files in memory, and folders that are opened without a right to read them."""

from __future__ import annotations

import os
import sys

if sys.platform != "linux":
    raise ImportError("this is Linux's part")

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from typing import Any

READABLE, HUNG_UP = 1, 0x2000  # EPOLLIN, EPOLLRDHUP
ABSTRACT = ADOPTS = True
FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def refusal(*, supervised: bool) -> str:  # noqa: ARG001
    """Return why a launch can't start its processes; empty if it can."""
    return ""


def open_handle(pid: int) -> int:
    """Return a pidfd.

    Raises:
        OSError: there is no such process, or the kernel or Python (3.8) has no pidfds.
    """
    try:
        opened = os.pidfd_open
    except AttributeError:
        from errno import ENOSYS

        raise OSError(ENOSYS, os.strerror(ENOSYS)) from None
    return opened(pid)


def send_by(handle: int, number: int) -> None:
    """Send a signal by a pidfd.

    Raises:
        OSError: the process has ended, or is another user's.
    """
    signals: Any = __import__("_signal")  # `signal` wraps it in enums, which a preloaded rank would find imported
    signals.pidfd_send_signal(handle, number)


def waiting() -> select.epoll:
    """Return what waits for descriptors: the kernel queues them in the order in which they became ready."""
    import select

    return select.epoll()


def pids() -> list[int]:
    """Return the pids of all processes that this one can see."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def has_children() -> bool:
    """Return whether this process has a child, without a look at all processes of the machine."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def await_end(child: int) -> int | None:
    """Wait for the end of a child, which stays to be collected; return its exit status, or minus its signal."""
    how = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    return 0 if how is None else how.si_status if how.si_code == os.CLD_EXITED else -how.si_status


def memory_file(name: str) -> int:
    """Create a file in memory: it has a path below ``/proc`` as long as it is open, and leaves nothing behind.

    Raises:
        OSError: the kernel refuses.
    """
    return os.memfd_create(name)


def scheduler() -> int:
    """Return the kernel's scheduling policy of this process."""
    return os.sched_getscheduler(0)


def since_boot() -> float:
    """Return the seconds since the machine has started, in which the kernel counts the starts of processes."""
    import time

    return time.clock_gettime(time.CLOCK_BOOTTIME)


def peer(connection: Any) -> tuple[int, int]:
    """Return the pid and the user of the other side of a local socket; the pid is 0 in another container.

    Raises:
        OSError: it isn't connected.
    """
    import struct
    from _socket import SO_PEERCRED, SOL_SOCKET

    pid, user, _group = struct.unpack("3i", connection.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
    return pid, user
