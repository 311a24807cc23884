"""Exceptions that a rank raises when it has lost another one."""

from __future__ import annotations

import re

LOST = re.compile(
    r"(?:\w+\.)*(?:Connection\w*|BrokenPipe|EOF|Timeout|Dist\w*|IncompleteRead)Error\b"
    r"|.*(?i:\b(?:gloo|nccl|hccl|xccl|mpi|ucc|tcpstore)\b|connection (?:was )?(?:closed|reset|refused|aborted|lost)"
    r"|broken pipe|\bpeer\b|\btimed? ?out\b|remote process exited|socket|watchdog)"
)


def lost(exception: str) -> bool:
    """Return whether an exception can come of the end of another rank."""
    return bool(LOST.match(exception.partition("\n")[0]))
