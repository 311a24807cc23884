"""What our packages use of macOS's kqueue, made of Linux's epoll and pidfds."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
from pathlib import Path
from typing import NamedTuple

KQ_FILTER_READ, KQ_FILTER_PROC = -1, -5
KQ_EV_ADD, KQ_EV_DELETE, KQ_EV_CLEAR, KQ_EV_EOF = 0x1, 0x2, 0x20, 0x8000
KQ_NOTE_EXIT = 0x80000000
EXIT_STATUS = 0x04000000
processes: set[int] = set()
"""The pidfds of all that is watched."""


class kevent(NamedTuple):
    """An event, or a wish for one."""

    ident: int
    filter: int = KQ_FILTER_READ
    flags: int = KQ_EV_ADD
    fflags: int = 0
    data: int = 0


class kqueue:
    """A queue of events, which is itself a descriptor to wait for."""

    def __init__(self, epoll: select.epoll | None = None) -> None:
        self._epoll = epoll or select.epoll()
        self.fileno = self._epoll.fileno

    @classmethod
    def fromfd(cls, fd: int) -> kqueue:
        """Take the descriptor of one."""
        return cls(select.epoll.fromfd(fd))

    def close(self) -> None:
        """Let go of it; a duplicate of its descriptor lives on."""
        self._epoll.close()

    def control(self, changes: list[kevent] | None, most: int, timeout: float | None = None) -> list[kevent]:
        """Make changes, then wait for at most so many events."""
        for change in changes or ():
            if change.filter == KQ_FILTER_PROC:
                self._watch(change.ident)
            elif change.flags & KQ_EV_DELETE:
                self._epoll.unregister(change.ident)
            else:
                edge = select.EPOLLET if change.flags & KQ_EV_CLEAR else 0
                self._epoll.register(change.ident, select.EPOLLIN | select.EPOLLRDHUP | edge)
        if not most:
            return []
        ends = select.EPOLLHUP | select.EPOLLRDHUP
        found = self._epoll.poll(-1 if timeout is None else timeout, most)
        return [
            kevent(fd, KQ_FILTER_READ, KQ_EV_EOF if events & ends else 0, *(ended(fd) if fd in processes else ()))
            for fd, events in found
        ]

    def _watch(self, pid: int) -> None:
        """Wait for the end of a process; one that has ended can't be waited for, though nobody has collected it."""
        fd = os.pidfd_open(pid)
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        if poller.poll(0):
            os.close(fd)
            raise ProcessLookupError(3, "No such process")
        self._epoll.register(fd, select.EPOLLIN)
        processes.add(fd)
        # The process is watched as long as a descriptor of the queue is open, so that nobody may close the pidfd.


def ended(fd: int) -> tuple[int, int]:
    """Return the notes and the data of the end of a process: its wait status, as far as Linux tells it."""
    number = re.search(r"Pid:\s*(\d+)", Path(f"/proc/self/fdinfo/{fd}").read_text())
    stat = Path("/proc", number[1] if number else "-", "stat")
    if stat.exists() and (fields := stat.read_text().rpartition(")")[2].split())[0] == "Z":
        return KQ_NOTE_EXIT | EXIT_STATUS, int(fields[-1])
    facts = bytearray(struct.pack("Q", 8).ljust(64, b"\0"))  # PIDFD_INFO_EXIT of struct pidfd_info
    try:
        fcntl.ioctl(fd, 0xC040FF0B, facts, True)
    except OSError:
        return KQ_NOTE_EXIT, 0
    return KQ_NOTE_EXIT | EXIT_STATUS, struct.unpack_from("i", facts, 60)[0]
