"""The process that has started this launcher process from Python, seen through a pipe."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from accel_launch.running.guardian.orders import KILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Sequence

    from accel_launch.running.guardian.orders import Orders
    from accel_launch.running.supervising.signal_handling import SignalHandling


INTERRUPT, TIMEOUT, ALIVE = b"i", b"t", b"."
"""Bytes from the pipe. Smaller ones are numbers of signals."""
SIGNALS = 32
PATIENCE = 15.0  # seconds in which a process that sends ALIVE must send something again


class CallingProcess:
    """Takes bytes from the pipe: the run is to be interrupted, or takes too long. Kills everything at its end.

    A process on another machine may be cut off without an end of the pipe. It sends `ALIVE` again and again, gets the
    line ``alive`` as the answer, and its silence is the end.
    """

    def __init__(self, fd: int | None, orders: Orders, signals: SignalHandling, alive: str) -> None:
        """Read from ``fd``; None: no such process. Without ``alive`` it gives no signs of life."""
        self.fd, self.orders, self.signals, self.alive = fd, orders, signals, alive
        self.timed_out = False
        """Whether the run takes too long, and is to be ended once its ranks are shown."""
        self.gone = False
        """Whether it has ended."""
        self.deadline = time.monotonic() + PATIENCE if alive else None
        """When its silence is its end, in monotonic seconds; None if it gives no signs of life."""

    def register(self, poller: select.poll) -> None:
        """Wait for it too."""
        if self.fd is not None:
            poller.register(self.fd, 1)  # select.POLLIN

    @property
    def due(self) -> float | None:
        """Seconds until its silence is its end; None without such a limit."""
        return None if self.deadline is None or self.fd is None else max(0.0, self.deadline - time.monotonic())

    def step(self, poller: select.poll, ready: Sequence[tuple[int, int]]) -> None:
        """Act on what it sends, or on its end."""
        if self.fd is None:
            return
        if self.fd in dict(ready):
            if byte := os.read(self.fd, 1):
                self._take(byte)
                return
        elif self.due != 0:
            return
        poller.unregister(self.fd)
        self.fd = None
        self.gone = True
        self.orders.send(KILL)

    def _take(self, byte: bytes) -> None:
        if self.deadline is not None:
            self.deadline = time.monotonic() + PATIENCE
        if byte == ALIVE:
            self._answer()
        if byte == TIMEOUT:
            self.timed_out = True
        elif byte == INTERRUPT:
            self.signals.interrupt()
        elif byte[0] < SIGNALS:
            os.kill(os.getpid(), byte[0])

    def _answer(self) -> None:
        """Answer on standard error, unless the way is blocked: who doesn't read there doesn't count our silence."""
        import select

        poller = select.poll()
        poller.register(2, select.POLLOUT)
        if poller.poll(0):
            with suppress(OSError):
                os.write(2, self.alive.encode())
