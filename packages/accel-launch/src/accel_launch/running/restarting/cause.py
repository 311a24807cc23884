"""What ended an attempt, so that two attempts can be compared: numbers, addresses and temporary names left out."""

from __future__ import annotations

import re
import signal

from accel_config.errors import TIMED_OUT
from accel_config.record import Record
from accel_launch.running.report.judging import OUT_OF_MEMORY
from accel_launch.running.report.records import signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.report.records import Failure, Result

LINES, WIDEST = 8, 300  # of a message that are compared: what differs later isn't another cause
EXCEPTION, SIGNAL, STATUS, STALL, MEMORY = "exception", "signal", "status", "stall", "memory"
CHANGING = re.compile(
    r"\b0[xX][0-9a-fA-F]+"
    r"|\btmp[A-Za-z0-9_]{6,}"  # as tempfile names them
    r"|\b(?=\d{0,64}[a-f])(?=[a-f]{0,64}\d)[0-9a-f]{6,64}(?:-[0-9a-f]{4,12}){0,4}\b"  # hashes, UUIDs
    r"|\d+(?:[.,:_-]\d+)*(?:[eE][+-]?\d+)?"  # numbers, times, addresses with their ports
)
MISSING = re.compile(r"""(?:^|[\s:])['"](.{1,4096}?)['"]\s*$""", re.MULTILINE)
"""The file that an exception names at the end of a line."""
OUTSIDE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
"""Signals that a process gets from others, at any moment."""


class Cause(Record):
    """Why an attempt failed. Two are equal if the same thing went wrong."""

    kind: str
    """``exception``, ``signal``, ``status``, ``stall``, or ``memory``: the OOM killer."""
    what: str
    """The exception's type, the signal, or ``exit status 3``."""
    message: str = ""
    """What the exception or the last line said, without what changes from one run to the next."""
    where: str = ""
    """``FILE:LINE`` in the user's code; empty if unknown."""
    missing: str = ""
    """The file that wasn't there; empty for other causes."""

    @property
    def outside(self) -> bool:
        """Whether another process may have ended the attempt, so that the moment of its end tells something."""
        return self.kind == SIGNAL and self.what in OUTSIDE


def cause_of(result: Result) -> Cause | None:
    """Return why a run failed; None if no rank did: it ended well, or a signal to the launcher ended it."""
    failure = result.failure
    if failure is None or result.signal:
        return None
    ending = failure.ending
    if result.stalls and result.status == TIMED_OUT:
        return Cause(STALL, "standing still", _doing(result), failure.where)
    if OUT_OF_MEMORY in failure.cause:
        return Cause(MEMORY, "out of memory")
    if failure.exception and (not ending.signal or ending.signal == signal.SIGTERM):
        return _exception(failure)
    if ending.signal:
        return Cause(SIGNAL, signal_name(ending.signal), steady(failure.exception), failure.where)
    return Cause(STATUS, ending.how, steady(failure.last_line), failure.where)


def type_of(exception: str) -> str:
    """Return the type of an exception, without its module."""
    return exception.partition("\n")[0].partition(":")[0].strip().rpartition(".")[2][:WIDEST]


def steady(text: str) -> str:
    """Return a message without what changes from one run to the next."""
    lines = [line[:WIDEST] for line in text[: LINES * WIDEST * 4].splitlines()[:LINES]]
    return CHANGING.sub("#", "\n".join(lines))


def _exception(failure: Failure) -> Cause:
    said = failure.exception
    name = type_of(said)
    path = MISSING.search(said[:8192]) if name == "FileNotFoundError" else None
    return Cause(EXCEPTION, name, steady(said), failure.where, path[1] if path else "")


def _doing(result: Result) -> str:
    """Return what the ranks to blame for a standstill did; all if none is. Which ranks they are doesn't matter."""
    stall = result.stalls[-1]
    return steady("\n".join(sorted({group.doing for group in stall.blamed or stall.groups})))
