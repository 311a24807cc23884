"""The process that has started this launcher process from Python, seen through a pipe."""

from __future__ import annotations

import os

from accel_launch.running.guardian.orders import KILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Sequence

    from accel_launch.running.guardian.orders import Orders
    from accel_launch.running.supervising.signal_handling import SignalHandling


INTERRUPT, TIMEOUT = b"i", b"t"
"""Bytes from the pipe."""


class CallingProcess:
    """Takes bytes from the pipe: the run is to be interrupted, or takes too long. Kills everything at its end."""

    def __init__(self, fd: int | None, orders: Orders, signals: SignalHandling) -> None:
        """Read from ``fd``; None: no such process."""
        self.fd, self.orders, self.signals = fd, orders, signals
        self.timed_out = False
        """Whether the run takes too long, and is to be ended once its ranks are shown."""
        self.gone = False
        """Whether it has ended."""

    def register(self, poller: select.poll) -> None:
        """Wait for it too."""
        if self.fd is not None:
            poller.register(self.fd, 1)  # select.POLLIN

    def step(self, poller: select.poll, ready: Sequence[tuple[int, int]]) -> None:
        """Act on what it sends, or on its end."""
        if self.fd is None or self.fd not in dict(ready):
            return
        if byte := os.read(self.fd, 1):
            if byte == TIMEOUT:
                self.timed_out = True
            else:
                self.signals.interrupt()
            return
        poller.unregister(self.fd)
        self.fd = None
        self.gone = True
        self.orders.send(KILL)
