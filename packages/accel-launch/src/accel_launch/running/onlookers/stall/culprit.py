"""Who is to blame for a standstill, in a run with ranks elsewhere."""

from __future__ import annotations

from accel_config.record import Record


class Culprit(Record):
    """The process to blame, for the report of every machine."""

    machine: int
    host: str
    rank: int
    local_rank: int
    pid: int
