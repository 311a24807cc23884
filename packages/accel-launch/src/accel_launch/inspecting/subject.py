"""A rank to look at."""

from __future__ import annotations

from accel_config.record import Record


class Subject(Record):
    """A rank to look at."""

    rank: int
    local_rank: int
    pid: int
    ended: str = ""
    """How it ended, in words; empty if that isn't known, or if it runs."""
