"""What the supervisor sees of the lifeline: whether to end the run here, and what failed first anywhere."""

from __future__ import annotations

import select
import time

from ..process import say
from .hub import Hub
from .member import Member
from .waiting import Waiting, named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from . import Lifeline, Told

PATIENCE = 5.0  # seconds that a launcher waits for the others' word beyond what they may take


class Watch:
    """One side of the lifeline with the time it keeps."""

    def __init__(
        self,
        line: Lifeline,
        host: str,
        failing: Callable[[], Told | None],
        resting: Callable[[], tuple[bool, Told | None]],
        started: Callable[[], bool],
    ) -> None:
        """Open it.

        ``failing`` returns the first failure here that nothing will mend, once there is one; ``resting`` how the
        ranks have ended while their agent lives, as `verdict.resting` does; ``started`` whether they run, so that all
        machines have met.
        """
        self.line, self.failing, self.resting, self.started = line, failing, resting, started
        secret = _secret(line.secret_file)
        self.side: Hub | Member = (Hub if line.main else Member)(line, host, secret)
        self.waiting: Waiting | None = Waiting(line)
        self.next = time.monotonic()
        self.own: Told | None = None
        self.ended: float | None = None
        """When the run was ended from elsewhere, in seconds since the epoch."""
        self.late = ""
        """What to say where not enough machines came in time."""

    @property
    def ending(self) -> bool:
        """Whether the run is to end here."""
        return self.side.ending or bool(self.late)

    @property
    def due(self) -> float:
        """Seconds until something is to be done."""
        return max(0.0, self.next - time.monotonic())

    def step(self, poller: select.poll, ready: list[tuple[int, int]]) -> None:
        """Do what is due."""
        self.side.handle(poller, dict(ready))
        self._say()
        now = time.monotonic()
        if now >= self.next:
            self.next = now + self.line.beat / 2
            self.own = self.own or (None if self.ending else self.failing())
            if self.own is not None and not self.side.ending:
                self.side.failed(self.own)
            if self.line.together:
                self.side.rests(*self.resting())
            self.side.tick()
            if self.side.ending and self.own is None and self.ended is None:
                self.ended = time.time()
            if self.waiting is not None:
                self._wait(self.waiting)
        self.side.register(poller)

    def _say(self) -> None:
        """Say what the lifeline has to say, now: the run may go on for days."""
        notes, self.side.notes = self.side.notes, []
        if notes and self.waiting is not None:
            self.waiting.end()
        if not self.line.quiet:
            say("".join(f"accel: note: {note}\n" for note in notes))

    def _wait(self, waiting: Waiting) -> None:
        missing, started = self.side.missing, self.started()
        if started or self.ending:
            waiting.end()
            self.waiting = None
            if started and isinstance(self.side, Member):
                self.side.started()
            return
        waiting.show(missing)
        if waiting.seconds > self.line.patience:
            waiting.end()
            self.late = f"{_late(self.line, missing)} within {self.line.patience:.0f} s (join_timeout)"

    def conclude(self, told: Told | None) -> Told | None:
        """End the lifeline with the run: tell how it ended here, and return what failed first anywhere.

        ``told`` is how it failed here, which counts only where nothing else had ended it before.
        """
        if self.ended is not None and told is not None and told.at >= self.ended:
            told = None  # what was ended from elsewhere is no failure of its own
        if self.waiting is not None:
            self.waiting.end()
        self.side.over(told)
        until = time.monotonic() + self.line.silence + self.line.pause + PATIENCE
        while not self.side.settled and time.monotonic() < until:
            poller = select.poll()
            self.side.register(poller)
            ready = dict(poller.poll(self.due * 1000))
            self.side.handle(poller, ready)
            if not self.due:
                self.next = time.monotonic() + self.line.beat / 2
                self.side.tick()
        self.side.close()
        self._say()
        return self.side.verdict or told

    @property
    def refused(self) -> str:
        """Why the main machine turned us away."""
        return self.side.refused if isinstance(self.side, Member) else ""


def _late(line: Lifeline, missing: tuple[int, ...] | None) -> str:
    if missing:
        return f"{named(missing)} didn't come to {line.place}"
    return f"the machines didn't meet at {line.place}" if line.main else f"machine 0 wasn't found at {line.place}"


def _secret(path: str | None) -> bytes | None:
    if path is None:
        return None
    import os

    with open(os.path.expanduser(path), "rb") as file:
        return file.read().strip()
