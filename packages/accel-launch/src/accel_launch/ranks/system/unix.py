"""POSIX with kqueue and without Linux's extras: macOS. Nobody has seen it run there.

Files and pipes that need a path are in a private folder, and processes are listed by ``ps``. Orphans go to the first
process of the system. So what ranks leave behind is found by the session that the guardian leads, and by having been
seen below a rank before.
"""

from __future__ import annotations

import os
import sys
from errno import ENOSYS

from .kqueue import HUNG_UP, READABLE, exit_status, open_handle, send_by, waiting
from .ps import catches, command, environ, look, marks, processes, remember, state, strays, usage

if sys.platform == "win32":
    raise ImportError("this is the part of POSIX")

__all__ = [
    "HUNG_UP",
    "READABLE",
    "catches",
    "command",
    "environ",
    "exit_status",
    "look",
    "marks",
    "open_handle",
    "processes",
    "remember",
    "send_by",
    "state",
    "strays",
    "usage",
    "waiting",
]
"""What is only passed on."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ABSTRACT = ADOPTS = BINDS = LOOKS = ROUTES = False
SUPERVISES, TICK = True, 100
METAL = sys.platform == "darwin"
FORKING: str | None = (
    "on macOS a fork isn't safe once Apple's frameworks are loaded: a rank may crash or hang; if one does, leave out "
    "preload"
)
DESCRIPTORS = "/dev/fd"
FLOCK = "qqihh"  # struct flock of macOS
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def refusal(*, supervised: bool) -> str:
    """Return why a launch can't start its processes; empty if it can."""
    import select

    if not supervised or hasattr(select, "kqueue"):
        return ""
    return "several processes need Linux, or a system with kqueue such as macOS; --dry_run prints what would run"


def _missing(what: str) -> OSError:
    return OSError(ENOSYS, os.strerror(ENOSYS), what)


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


# Files.

_folder: tuple[int, str] = 0, ""
"""The process that has made a private folder, and its path."""


def memory_file(name: str) -> int:  # noqa: ARG001
    """Create a file in the private folder.

    Raises:
        OSError: that can't be done.
    """
    path = f"{place()}/new"
    return _numbered(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), path)


def pipe() -> tuple[int, int]:
    """Create a pipe whose writer has a path too.

    Raises:
        OSError: that can't be done.
    """
    path = f"{place()}/new"
    os.mkfifo(path, 0o600)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # which doesn't wait for a writer
    os.set_blocking(reader, True)
    return reader, _numbered(os.open(path, os.O_WRONLY | os.O_CLOEXEC), path)


def _numbered(fd: int, path: str) -> int:
    os.rename(path, f"{place()}/{fd}")
    return fd


def share(fd: int) -> None:
    """Let a descriptor of a terminal have its number as a name as well.

    Raises:
        OSError: that can't be done.
    """
    path = f"{place()}/{fd}"
    if os.isatty(fd):
        if os.path.lexists(path):
            os.unlink(path)
        os.symlink(os.ttyname(fd), path)


def place() -> str:
    """Return the folder in which open files of this process have their numbers as names; make it first.

    Raises:
        OSError: it can't be made.
    """
    global _folder  # noqa: PLW0603
    own = os.getpid()
    if _folder[0] != own or not os.path.isdir(_folder[1]):
        _folder = own, _new()
        os.mkdir(_folder[1], 0o700)
        os.makedirs(f"{_folder[1]}/{own}/fd")
    return f"{_folder[1]}/{own}/fd"


def _new() -> str:
    return f"/tmp/accel-{os.urandom(8).hex()}"  # noqa: S108 - TMPDIR's is too long there for an address


def private() -> str:
    """Return the folder to remove at the end; empty if none was made."""
    return _folder[1] if _folder[0] == os.getpid() else ""


def clear() -> None:
    """Remove that folder."""
    folder = private()
    inner = f"{folder}/{os.getpid()}"
    try:
        for name in os.listdir(f"{inner}/fd") if folder else ():
            os.unlink(f"{inner}/fd/{name}")
        for path in (f"{inner}/fd", inner, folder) if folder else ():
            os.rmdir(path)
    except OSError:
        pass  # somebody has tidied up


def is_record(path: str) -> bool:
    """Return whether a path leads to a file of ours: an engine may carry it to another machine."""
    return os.path.isfile(path)


def reach(folder: str, name: str, use: Callable[[str], object]) -> None:
    """Call ``use`` with an address of a socket in a folder, whose path may be longer than an address can be.

    Raises:
        OSError: there is no such folder, or ``use`` raises it.
    """
    link = _new()
    os.symlink(folder, link)
    try:
        use(f"{link}/{name}")
    finally:
        os.unlink(link)


def locked_by(fd: int) -> tuple[bool, int]:
    """Return whether another process has locked a file, and which.

    Raises:
        OSError: the file system has no such locks.
    """
    import fcntl
    import struct

    found = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack(FLOCK, 0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET))
    _start, _length, pid, kind, _whence = struct.unpack(FLOCK, found)
    return kind != fcntl.F_UNLCK, pid


def scheduler() -> int:
    """Return 0, the usual scheduling policy."""
    return 0


def age() -> float:
    """Return 0: when this process has started isn't read here."""
    return 0.0


def peer(connection: Any) -> tuple[int, int]:
    """Refuse: who the other side is, isn't read here."""
    raise _missing(f"the other side of {connection}")
