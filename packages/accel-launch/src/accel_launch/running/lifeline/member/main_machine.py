"""Whether the main machine's launcher lives, as another machine sees it."""

from __future__ import annotations

import time

from accel_launch.running.report.judging import NOTICE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.lifeline import Lifeline


class MainMachine:
    """Knows when the main machine's last message came, and how long that may be ago. Times are monotonic."""

    def __init__(self, line: Lifeline) -> None:
        """Begin before its first message."""
        self.line = line
        self.host = ""
        self.patience = float("inf")
        """When it must have answered; infinite as long as machines are waited for."""
        self.received: float | None = None
        """When its last message came; None before the first."""
        self.lost: float | None = None
        """When the connection to it broke."""
        self.ticked = time.monotonic()

    def tick(self, now: float) -> None:
        """Take the time; if this launcher was suspended itself, messages still wait to be read."""
        if now - self.ticked > self.line.silence / 3 and self.received is not None:
            self.received = now
        self.ticked = now

    @property
    def due(self) -> bool:
        """Whether it should have answered by now, or soon."""
        return self.received is None and self.patience < float("inf")

    def loss(self, now: float) -> tuple[str, float]:
        """Return why it is lost, and since when in seconds, as a negative number; an empty text if it isn't lost."""
        if self.received is not None and now - self.received > self.line.silence:
            return f"silent for {now - self.received:.0f} s", self.received - now
        if self.received is not None and self.lost is not None and now - self.lost > self.line.pause:
            return "its launcher is gone", self.lost - now - NOTICE
        return "", 0.0
