"""What the launcher and its watcher let each other know: moments, in memory that they share, and lines of JSON."""

from __future__ import annotations

import struct
import time
from mmap import mmap

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    from accel_launch.running.onlookers.stall.telling import Stall

    class Audience(Protocol):
        """Who is told of standstills."""

        @property
        def name(self) -> str:
            """The run's name."""
            ...

        @property
        def writes(self) -> str | None:
            """The folder for whole stacks; None if they aren't to be written."""
            ...

        @property
        def store(self) -> int:
            """The port of torch's store; 0 if no rank has it."""
            ...

        def stalled(self, stall: Stall, ends: bool | None = None) -> None:
            """Take a standstill, and whether it ends the run, if the main machine has decided that."""

        def moves(self, line: str) -> None:
            """Take a line to print: the run moves again."""

        def tell(self, line: str) -> None:
            """Take another line to print."""

        def note(self, text: str) -> None:
            """Take what there is to say of us."""


DOUBLE = 8  # bytes
OFTEN = 15.0  # seconds between two looks whether it is back, at most: it changes its mind
GRACE = 10.0  # seconds after a moment by which the watcher wanted to be back: it, or all of us, may have been stopped


class Moment:
    """A moment in monotonic seconds, which a process and its forks share: whoever sets it, all know."""

    def __init__(self) -> None:
        """Start with 0, long ago."""
        self.shared = mmap(-1, DOUBLE)

    def get(self) -> float:
        """Return it."""
        return struct.unpack("d", self.shared[:])[0]

    def set(self, at: float) -> None:
        """Change it."""
        self.shared[:] = struct.pack("d", at)


class Moments(Record):
    """What launcher and watcher let each other know."""

    output: Moment
    """When a rank last printed something."""
    held: Moment
    """1 while a rank can't print, as nobody reads what it has printed; else 0."""
    disturbed: Moment
    """When ranks were last stopped for a moment, to be looked at."""
    moved: Moment
    """When the watcher last saw something move."""
    back: Moment
    """By when the watcher wanted to be back, at the latest, from whatever it does; 0 if it has done nothing yet."""

    @classmethod
    def shared(cls) -> Moments:
        """Return new ones, to be shared with forks."""
        return cls(Moment(), Moment(), Moment(), Moment(), Moment())

    def last_output(self) -> float:
        """Return when a rank last printed something, or would have if somebody had read it."""
        return time.monotonic() if self.held.get() else self.output.get()


class Hearing:
    """What the watcher tells, taken a turn later: by then it is known what had moved before it was told."""

    def __init__(
        self,
        output: Callable[[], float],
        audience: Audience,
        found_here: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        """Take what returns when a rank last printed something, and who is told; see `handle.StallWatch`."""
        self.output, self.audience, self.found_here = output, audience, found_here
        self.unread = bytearray()
        self.lines: list[bytearray] = []
        self.told = False
        """Whether a standstill was told."""

    def add(self, data: bytes) -> None:
        """Take bytes."""
        self.unread += data
        if b"\n" in data:
            *lines, self.unread = self.unread.split(b"\n")
            self.lines += lines

    def step(self) -> None:
        """Act on what was told before this turn; a standstill after which something was printed is none."""
        import json

        lines, self.lines = self.lines, []
        for line in lines:
            found = json.loads(line)
            moved = found.get("moved")
            if moved is not None and moved < self.output():
                found = {"kind": "moves", "seconds": self.output() - moved, "seen": True}
            self._take(found)

    def _take(self, found: Mapping[str, Any]) -> None:
        from accel_launch.machine.clock import duration
        from accel_launch.running.onlookers.stall.telling import Stall, paused

        if found["kind"] == "line":
            self.audience.tell(f"accel: {found['text']}\n")
        elif self.found_here is not None and found["kind"] != "paused":
            self.found_here(found)
        elif found["kind"] == "stall":
            self.told = True
            self.audience.stalled(Stall.from_json(found["stall"]).replace(stacks=tuple(found["stacks"])))
        elif found["kind"] == "moves":
            if found["seen"] and self.told:
                self.audience.moves(f"accel: the run moves again, after {duration(found['seconds'])}\n")
            self.told = False
        else:
            self.audience.tell(paused(found["ranks"]))


class Absence:
    """Whether the watcher comes back when it wanted: stopped or blocked it would tell nothing, for ever."""

    def __init__(self, back: Moment) -> None:
        """Look for the first time after a grace."""
        self.back, self.next = back, time.monotonic() + GRACE
        """The moment by which it wants to be back, and when to look whether it is."""
        self.late: float | None = None
        """The moment by which it wanted to be back, if it wasn't."""

    def proven(self) -> bool:
        """Look whether it is back, if that is due; return whether it still isn't after a grace."""
        back, now = self.back.get(), time.monotonic()
        if now < self.next:
            return False
        if now < back:
            self.late, self.next = None, min(back, now + OFTEN)
        elif self.late != back:
            self.late, self.next = back, now + GRACE
        else:
            return True
        return False
