"""What ended an attempt, in a few words, and which ranks are to blame for it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.report.records import Failure, Result

WIDEST = 160  # characters of an exception


def standing(failure: Failure) -> bool:
    """Return whether a standstill ended the run."""
    return failure.cause.startswith("standing still for ")


def blameless(failure: Failure) -> str:
    """Return why no rank is more to blame than another, if a standstill ended the run; else an empty text."""
    from accel_launch.inspecting.groups import BLAMELESS

    reason = failure.cause.partition(": ")[2] if standing(failure) else ""
    return next((words for words in BLAMELESS if reason.startswith(f"{words}: ")), "")


def blamed(result: Result) -> set[int]:
    """Return the ranks that are to blame for a failure: none, the one that failed first, or all that are stuck."""
    failure, timeout = result.failure, result.collective_timeout
    if failure is None or blameless(failure):
        return set()
    stuck = result.stalls[-1].blamed if result.stalls and standing(failure) else ()
    missing = timeout.missing if timeout is not None else ()
    return {failure.ending.rank, *missing, *(rank for group in stuck for rank in group.ranks)}


def cause(result: Result) -> str:
    """Return in a line what ended an attempt; an empty text if it ended well, or by a signal to the launcher."""
    failure = result.failure
    if failure is not None:
        what = failure.exception.partition("\n")[0][:WIDEST] or failure.cause
        if failure.cause == failure.ending.how and not (failure.ending.signal or failure.exception):
            what = f"{what}: {failure.last_line[:WIDEST]}" if failure.last_line else what
        where = f" at {failure.where}" if failure.where else ""
        return f"{what}{where}" if blameless(failure) else f"rank {failure.ending.rank}: {what}{where}"
    if result.problems:
        return result.problems[0].partition("\n")[0]
    if result.later:
        return "asks to be queued again"
    return f"status {result.status}" if result.status and not result.signal else ""
