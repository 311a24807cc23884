"""Linux: pidfds, files in memory, and folders that are opened without a right to read them."""

from __future__ import annotations

import os
import sys

if sys.platform != "linux":
    raise ImportError("this is Linux's part")

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Mapping
    from typing import Any

    Facts = tuple[int, int, int]
    """A process's parent, its session, and when it started, in the kernel's ticks."""

READABLE, HUNG_UP = 1, 0x2000  # EPOLLIN, EPOLLRDHUP
ABSTRACT = ADOPTS = BINDS = LOOKS = ROUTES = SUPERVISES = True
METAL = False
FORKING: str | None = ""
DESCRIPTORS, TICK = "/proc/self/fd", os.sysconf("SC_CLK_TCK")
FLOCK = "hhqqi4x"  # struct flock on 64-bit Linux
FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
# The request for the facts that a pidfd keeps of a process which has ended and was collected (Linux 6.15), and where
# they are: PIDFD_GET_INFO, PIDFD_INFO_EXIT and `exit_code` of struct pidfd_info.
GET_INFO, EXIT, SIZE, PLACE = 0xC040FF0B, 8, 64, 60


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


def exit_status(handle: int, pid: int) -> int | None:
    """Return the wait status of a process that has ended, and isn't our child; None if the kernel doesn't keep it."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    if fields[:1] == [b"Z"]:  # its parent hasn't collected it
        return int(fields[-1])
    import fcntl
    import struct

    facts = bytearray(struct.pack("Q", EXIT).ljust(SIZE, b"\0"))
    try:
        fcntl.ioctl(handle, GET_INFO, facts, True)
    except OSError:  # an older kernel
        return None
    known = struct.unpack_from("Q", facts)[0] & EXIT
    return struct.unpack_from("i", facts, PLACE)[0] if known else None


def waiting() -> select.epoll:
    """Return what waits for descriptors: the kernel queues them in the order in which they became ready."""
    import select

    return select.epoll()


def processes() -> dict[int, Facts]:
    """Return the facts of every process that this one can see, by pid."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdecimal())
    return {pid: facts for pid in pids if (facts := look(pid)) is not None}


def look(pid: int) -> Facts | None:
    """Return the facts of a process; None if it has ended by now."""
    try:
        return facts_in(_read(f"/proc/{pid}/stat"))
    except (IndexError, ValueError):
        return None


def facts_in(stat: bytes) -> Facts:
    """Return the facts in a text such as that of ``/proc/PID/stat``.

    Raises:
        IndexError, ValueError: it holds something else.
    """
    # The name stands in parentheses and can hold anything, so the fields are counted from its end.
    fields = stat.rpartition(b")")[2].split()
    return int(fields[1]), int(fields[3]), int(fields[19])


def strays(session: int, every: Mapping[int, Facts]) -> list[int]:  # noqa: ARG001
    """Return none: orphans have a parent that looks for them."""
    return []


def remember(found: Mapping[int, Facts]) -> None:
    """Find these again when their parents have ended: they are below the next one."""


def marks() -> dict[str, str]:
    """Return the variables by which what is left of this process's ranks is found: it needs none."""
    return {}


def state(pid: int) -> str:
    """Return the letter for what it does: ``R`` runs, ``T`` is stopped; an empty text if it has ended."""
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2][1:2].decode()


def catches(pid: int, number: int) -> bool:
    """Return whether a process has a handler for a signal."""
    caught = _read(f"/proc/{pid}/status").partition(b"\nSigCgt:")[2].split(maxsplit=1)
    return bool(caught) and bool(int(caught[0], 16) >> (number - 1) & 1)


def command(pid: int) -> bytes:
    """Return the beginning of what it executes."""
    return _read(f"/proc/{pid}/cmdline", 400)


def environ(pid: int) -> bytes:
    """Return the variables that it was started with, as far as they can be seen."""
    return _read(f"/proc/{pid}/environ")


def usage(pid: int) -> tuple[float, int] | None:
    """Return the seconds of CPU and the bytes of memory that a process has used; None if it has ended."""
    fields, pages = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split(), _read(f"/proc/{pid}/statm").split()
    if not fields or not pages:
        return None
    size = os.sysconf("SC_PAGE_SIZE")
    return (int(fields[11]) + int(fields[12])) / TICK, int(pages[1]) * size


def _read(path: str, size: int = -1) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError:
        return b""


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


def pipe() -> tuple[int, int]:
    """Create a pipe whose ends have a path too."""
    return os.pipe()


def share(fd: int) -> None:
    """Let a descriptor have its number as a name: each has."""


def place() -> str:
    """Return the folder in which this process's open files have their numbers as names, for the ranks' parents."""
    return f"/proc/{os.getpid()}/fd"


def private() -> str:
    """Return the folder to remove at the end: none."""
    return ""


def clear() -> None:
    """Remove that folder: there is none."""


def is_record(path: str) -> bool:
    """Return whether a path leads to a file in memory of that name: an engine may carry it to another machine."""
    try:
        return os.readlink(path).startswith("/memfd:accel-record")
    except OSError:
        return False


def reach(folder: str, name: str, use: Callable[[str], object]) -> None:
    """Call ``use`` with an address of a socket in a folder, whose path may be longer than an address can be.

    Raises:
        OSError: there is no such folder, or ``use`` raises it.
    """
    fd = os.open(folder, FOLDER)
    try:
        use(f"/proc/self/fd/{fd}/{name}")
    finally:
        os.close(fd)


def locked_by(fd: int) -> tuple[bool, int]:
    """Return whether another process has locked a file, and which.

    Raises:
        OSError: the file system has no such locks.
    """
    import fcntl
    import struct

    found = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    kind, _whence, _start, _length, pid = struct.unpack(FLOCK, found)
    return kind != fcntl.F_UNLCK, pid


def scheduler() -> int:
    """Return the kernel's scheduling policy of this process."""
    return os.sched_getscheduler(0)


def age() -> float:
    """Return the seconds since this process has started."""
    import time

    facts = look(os.getpid())
    return time.clock_gettime(time.CLOCK_BOOTTIME) - facts[2] / os.sysconf("SC_CLK_TCK") if facts else 0.0


def peer(connection: Any) -> tuple[int, int]:
    """Return the pid and the user of the other side of a local socket; the pid is 0 in another container.

    Raises:
        OSError: it isn't connected.
    """
    import struct
    from _socket import SO_PEERCRED, SOL_SOCKET

    pid, user, _group = struct.unpack("3i", connection.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
    return pid, user
