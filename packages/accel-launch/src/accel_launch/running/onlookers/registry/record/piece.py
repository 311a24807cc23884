"""A piece of what a detached run prints."""

from __future__ import annotations


class Piece:
    """What was printed at once."""

    def __init__(self, at: float, rank: int, stream: int, data: bytes) -> None:
        """Take its time, its rank, its stream and its bytes."""
        self.at, self.rank, self.stream, self.data = at, rank, stream, data
