"""Times as this machine's clock shows them."""

from __future__ import annotations

import time

MINUTES = 120  # seconds from which on a time is told in minutes
OFFSET = time.time() - time.monotonic()
"""What the clock showed when this process came to it, less what never jumps."""


def steady() -> float:
    """Return the time in seconds since the epoch, without the jumps of a clock that is set meanwhile."""
    return OFFSET + time.monotonic()


def local_time(at: float) -> str:
    """Return a time in seconds since the epoch, such as ``2026-11-28 12:03:11``."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def duration(seconds: float) -> str:
    """Return a time in words, such as ``5 min`` or ``1 h 20 min``."""
    whole = round(seconds)
    if whole < MINUTES:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
