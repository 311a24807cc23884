"""POSIX without Linux's extras, such as macOS. Nobody has seen it run there."""

from __future__ import annotations

import os
import sys
from errno import ENOSYS

if sys.platform == "win32":
    raise ImportError("this is the part of POSIX")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

READABLE, HUNG_UP = 0x1, 0x10  # POLLIN, POLLHUP
ABSTRACT = ADOPTS = False
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def refusal(*, supervised: bool) -> str:
    """Return why a launch can't start its processes; empty if it can."""
    what = "several processes are started and watched on Linux alone, so far; this system starts one"
    return f"{what}, and --dry_run prints what would run" if supervised else ""


class Poller:
    """What `select.epoll` is elsewhere, without the order in which descriptors became ready."""

    def __init__(self) -> None:
        import select

        self._poll = select.poll()
        self.register, self.unregister = self._poll.register, self._poll.unregister

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """Wait so many seconds for a descriptor."""
        return self._poll.poll(None if timeout is None or timeout < 0 else timeout * 1000)


def waiting() -> Poller:
    """Return what waits for descriptors."""
    return Poller()


def open_handle(pid: int) -> int:
    """Refuse: no descriptor stands for a process here."""
    raise _missing(f"a handle of process {pid}")


def send_by(handle: int, number: int) -> None:
    """Refuse."""
    raise _missing(f"signal {number} by the handle {handle}")


def _missing(what: str) -> OSError:
    return OSError(ENOSYS, os.strerror(ENOSYS), what)


def pids() -> list[int]:
    """Return none: what is below a process isn't found here."""
    return []


def has_children() -> bool:
    """Return whether this process has a child; False where the system can't tell."""
    waitid: Callable[..., object] | None = getattr(os, "waitid", None)  # macOS has it from Python 3.13 on
    try:
        if waitid is not None:
            waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return waitid is not None


def await_end(child: int) -> int | None:
    """Wait for the end of a child, as on Linux; None where the system can only wait for a child to collect it."""
    waitid: Callable[..., Any] | None = getattr(os, "waitid", None)
    if waitid is None:
        return None
    how = waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    return how.si_status if how.si_code == os.CLD_EXITED else -how.si_status


def memory_file(name: str) -> int:
    """Refuse: a file without a name has no path here."""
    raise _missing(name)


def scheduler() -> int:
    """Return 0, the usual scheduling policy."""
    return 0


def since_boot() -> float:
    """Refuse: the starts of processes aren't counted from there."""
    raise _missing("the time since the machine has started")


def peer(connection: Any) -> tuple[int, int]:
    """Refuse: who the other side is, isn't read here."""
    raise _missing(f"the other side of {connection}")
