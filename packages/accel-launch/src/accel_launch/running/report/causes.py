"""What ended an attempt, in a few words."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.report.records import Result

WIDEST = 160  # characters of an exception


def cause(result: Result) -> str:
    """Return in a line what ended an attempt; an empty text if it ended well, or by a signal to the launcher."""
    failure = result.failure
    if failure is not None:
        what = failure.exception.partition("\n")[0][:WIDEST] or failure.cause
        if failure.cause == failure.ending.how and not (failure.ending.signal or failure.exception):
            what = f"{what}: {failure.last_line[:WIDEST]}" if failure.last_line else what
        where = f" at {failure.where}" if failure.where else ""
        return f"rank {failure.ending.rank}: {what}{where}"
    if result.problems:
        return result.problems[0].partition("\n")[0]
    if result.later:
        return "asks to be queued again"
    return f"status {result.status}" if result.status and not result.signal else ""
