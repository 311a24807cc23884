"""System calls in which a process waits, by number, in words. Linux numbers them differently on each machine."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

TABLES = {
    "x86_64": (
        "0 read, 1 write, 2 open, 3 close, 4 stat, 7 poll, 16 ioctl, 17 pread64, 18 pwrite64, 19 readv, 20 writev, "
        "23 select, 26 msync, 34 pause, 35 nanosleep, 40 sendfile, 42 connect, 43 accept, 44 sendto, 45 recvfrom, "
        "46 sendmsg, 47 recvmsg, 61 wait4, 65 semop, 70 msgrcv, 72 fcntl, 73 flock, 74 fsync, 75 fdatasync, "
        "76 truncate, 77 ftruncate, 82 rename, 83 mkdir, 87 unlink, 128 rt_sigtimedwait, 130 rt_sigsuspend, "
        "202 futex, 208 io_getevents, 217 getdents64, 219 restart_syscall, 220 semtimedop, 230 clock_nanosleep, "
        "232 epoll_wait, 243 mq_timedreceive, 247 waitid, 257 openat, 262 newfstatat, 270 pselect6, 271 ppoll, "
        "281 epoll_pwait, 288 accept4, 299 recvmmsg, 326 copy_file_range, 332 statx, 426 io_uring_enter, "
        "441 epoll_pwait2, 449 futex_waitv"
    ),
    "aarch64": (
        "22 epoll_pwait, 25 fcntl, 29 ioctl, 32 flock, 35 unlinkat, 46 ftruncate, 56 openat, 57 close, "
        "61 getdents64, 63 read, 64 write, 65 readv, 66 writev, 67 pread64, 68 pwrite64, 71 sendfile, 72 pselect6, "
        "73 ppoll, 79 newfstatat, 82 fsync, 83 fdatasync, 95 waitid, 98 futex, 101 nanosleep, 115 clock_nanosleep, "
        "128 restart_syscall, 133 rt_sigsuspend, 137 rt_sigtimedwait, 183 mq_timedreceive, 188 msgrcv, "
        "192 semtimedop, 193 semop, 202 accept, 203 connect, 206 sendto, 207 recvfrom, 211 sendmsg, 212 recvmsg, "
        "227 msync, 242 accept4, 243 recvmmsg, 260 wait4, 285 copy_file_range, 291 statx, 426 io_uring_enter, "
        "441 epoll_pwait2, 449 futex_waitv"
    ),
}
LOCK, CHILD = "a lock", "a child process"
WORDS = {
    **dict.fromkeys(("nanosleep", "clock_nanosleep"), "sleep"),
    **dict.fromkeys(("futex", "futex_waitv"), LOCK),
    **dict.fromkeys(("poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2"), "poll"),
    **dict.fromkeys(("wait4", "waitid"), CHILD),
    **dict.fromkeys(("recvfrom", "recvmsg", "recvmmsg"), "receive"),
    **dict.fromkeys(("sendto", "sendmsg"), "send"),
    **dict.fromkeys(("accept", "accept4"), "accept"),
    **dict.fromkeys(("read", "readv", "pread64"), "read"),
    **dict.fromkeys(("write", "writev", "pwrite64"), "write"),
    **dict.fromkeys(("open", "openat"), "open"),
    **dict.fromkeys(("stat", "newfstatat", "statx"), "stat"),
}
READING = frozenset({"read", "readv", "pread64"})
SELECTING = frozenset({"select", "pselect6"})  # what readline does before it reads
POLLING = frozenset({"poll", "ppoll"})
POLLED, MOST_POLLED = 8, 1024  # bytes for each descriptor that is polled; and how many are looked at
POLLIN = 1
RESTARTED = (("nanosleep", "clock_nanosleep"), ("futex", "futex"), ("poll", "poll"))
"""Parts of the kernel's functions in which a process waits that was stopped meanwhile, and the call that goes on."""


_names: dict[int, str] = {}


def name(number: int, channel: str = "") -> str:
    """Return the name of a system call; empty if a process doesn't wait in it.

    ``channel`` is the kernel's function in which the process waits.
    """
    if not _names:
        words = [word.split() for word in TABLES.get(os.uname().machine, "-1 unknown").split(", ")]
        _names.update({int(text): call for text, call in words})
    found = _names.get(number, "")
    if found == "restart_syscall":
        return next((call for part, call in RESTARTED if part in channel), "")
    return found


def words(call: str) -> str:
    """Return what a process waits for in a system call, in words for a message."""
    return WORDS.get(call, call)


def awaited(pid: int, named: str, words: Sequence[str]) -> Sequence[int]:
    """Return the descriptors of which a process waits to read one, by the words of its call's line.

    Those of a select or a poll are in its memory. Where that may not be read, it is known of a select which is the
    highest one.
    """
    if named not in READING | SELECTING | POLLING:
        return ()
    first, second = (int(word, 16) for word in words[1:3])
    if named in READING:
        return (first,)
    if named in SELECTING:
        found = _memory(pid, second, first // 8 + 1)
        bits = int.from_bytes(found, "little") if found else 1 << max(first - 1, 0)
        return [number for number in range(first) if bits >> number & 1]
    many = _memory(pid, first, POLLED * min(second, MOST_POLLED))
    polled = [many[place : place + POLLED] for place in range(0, len(many), POLLED)]
    return [int.from_bytes(each[:4], "little") for each in polled if each[4] & POLLIN]


def _memory(pid: int, address: int, size: int) -> bytes:
    """Return memory of a process; nothing if that may not be read."""
    try:
        fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(fd, size, address)
        finally:
            os.close(fd)
    except (OSError, OverflowError):
        return b""
