"""Who is told of standstills, in tests that play the launcher."""

from __future__ import annotations

from accel_launch.running.onlookers.stall.telling import Stall


class Audience:
    """Keeps what it is told."""

    name = ""
    writes: str | None = None
    store = 0

    def __init__(self, told: list[tuple[Stall, bool | None]], said: list[str]) -> None:
        self.told, self.said = told, said

    def stalled(self, stall: Stall, ends: bool | None = None) -> None:
        self.told.append((stall, ends))

    def moves(self, line: str) -> None:
        self.said.append(line)

    def tell(self, line: str) -> None:
        self.said.append(line)

    def note(self, text: str) -> None:
        self.said.append(text)
