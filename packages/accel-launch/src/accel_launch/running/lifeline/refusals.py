"""What was refused: each reason is a note once, the rest is counted."""

from __future__ import annotations

MOST = 10  # different notes; whoever knocks can make up more


class Refusals:
    """Connections and messages that weren't accepted."""

    def __init__(self, notes: list[str]) -> None:
        """Add to these notes."""
        self.notes = notes
        self.told: set[str] = set()
        self.untold = 0

    def add(self, note: str) -> None:
        """Note what was refused, unless it is known."""
        if note in self.told or len(self.told) >= MOST:
            self.untold += 1
        else:
            self.told.add(note)
            self.notes.append(note)

    def end(self) -> None:
        """Note how many there were besides."""
        if self.untold:
            self.notes.append(f"refused {self.untold} more times what the notes above say")
            self.untold = 0
