"""Deaths of processes by kqueue, in their order."""

from __future__ import annotations

import os
import sys
from errno import ESRCH

if sys.platform == "win32":
    raise ImportError("this is the part of POSIX")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

READABLE, HUNG_UP = 0x1, 0x10
EXIT_STATUS = 0x04000000  # NOTE_EXITSTATUS of sys/event.h, which Python doesn't name
MOST = 64  # events of one look


class Poller:
    """What `select.epoll` is elsewhere: it keeps the order in which descriptors became ready."""

    def __init__(self) -> None:
        self._select: Any = __import__("select")  # whose types Linux doesn't have
        self._queue = self._select.kqueue()
        self._ends: set[int] = set()
        """Those of which only the end is awaited."""

    def register(self, fd: int, events: int) -> None:
        """Wait for a descriptor too: until it is readable, or for its end alone."""
        flags = self._select.KQ_EV_ADD
        if events == HUNG_UP:
            self._ends.add(fd)
            flags |= self._select.KQ_EV_CLEAR  # what comes before the end is reported once
        self._change(fd, flags)

    def unregister(self, fd: int) -> None:
        """Wait for it no longer."""
        self._ends.discard(fd)
        self._change(fd, self._select.KQ_EV_DELETE)

    def _change(self, fd: int, flags: int) -> None:
        self._queue.control([self._select.kevent(fd, self._select.KQ_FILTER_READ, flags)], 0)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """Wait so many seconds for a descriptor; without an end if that is negative."""
        found = self._queue.control(None, MOST, None if timeout is None or timeout < 0 else timeout)
        ended = self._select.KQ_EV_EOF
        return [
            (event.ident, HUNG_UP if event.ident in self._ends else READABLE)
            for event in found
            if event.ident not in self._ends or event.flags & ended
        ]


def waiting() -> Poller:
    """Return what waits for descriptors."""
    return Poller()


_behind: dict[int, int] = {}
"""The pid behind each handle."""
_ended: dict[int, int | None] = {}
"""The wait status behind each handle for which it was asked: it can be read once."""


def open_handle(pid: int) -> int:
    """Return a descriptor that is readable once the process has ended.

    Raises:
        OSError: there is no such process.
    """
    select: Any = __import__("select")
    queue = select.kqueue()
    try:
        _watch(queue, pid)
    except ProcessLookupError:
        os.kill(pid, 0)  # one that has ended and isn't collected can be signalled, but not watched
        handle, writer = os.pipe()
        os.close(writer)
    else:
        handle = os.dup(queue.fileno())
    finally:
        queue.close()
    _behind[handle] = pid
    _ended.pop(handle, None)
    return handle


def _watch(queue: Any, pid: int) -> None:
    """Wait for the end of a process, and for its status where that may be read."""
    select: Any = __import__("select")
    for more in (EXIT_STATUS, 0):
        event = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT | more)
        try:
            queue.control([event], 0)
            return
        except PermissionError:
            if not more:
                raise


def exit_status(handle: int, pid: int) -> int | None:  # noqa: ARG001
    """Return the wait status of a process that has ended, and needs not be our child; None if it isn't known."""
    if handle not in _ended:
        select: Any = __import__("select")
        _ended[handle] = None
        try:
            queue = select.kqueue.fromfd(os.dup(handle))
            for event in queue.control(None, 1, 0):
                _ended[handle] = event.data if event.fflags & EXIT_STATUS else None
            queue.close()
            ended, writer = os.pipe()  # as readable as the queue was before the event was read
            os.close(writer)
            os.dup2(ended, handle, inheritable=False)
            os.close(ended)
        except OSError:  # it had ended before it was watched
            pass
    return _ended[handle]


def send_by(handle: int, number: int) -> None:
    """Send a signal to the process behind a handle.

    Raises:
        OSError: it has ended, or is another user's.
    """
    import select

    poller = select.poll()
    poller.register(handle, select.POLLIN)
    if handle in _ended or poller.poll(0):
        raise ProcessLookupError(ESRCH, os.strerror(ESRCH))
    os.kill(_behind[handle], number)
