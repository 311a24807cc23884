"""From how the run ended here and what the other launchers say to one result: the first failure anywhere."""

from __future__ import annotations

import os
import signal
import time

from ..report import NOTED, READER_GONE, UNCAUGHT, Ending, Failure, Result, judge, name_of
from . import Lifeline, Told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan import Plan
    from ..report import Seen
    from .watch import Watch


def early(plan: Plan, seen: Seen) -> Told | None:
    """Return what ends the run everywhere, although ranks may still live here; None while nothing does."""
    line = plan.lifeline
    if line is None or not (seen.signalled or seen.reader_gone or any(ending.status for ending in seen.endings)):
        return None
    # An agent that may start its ranks again decides by itself, and so does one that takes in machines.
    if not (seen.signalled or seen.reader_gone) and (line.restarts or line.least < line.machines):
        return None
    return tell(line, judge(plan, seen))


def resting(plan: Plan, seen: Seen) -> tuple[bool, Told | None]:
    """Return whether all ranks here have ended well, and the failure after which the agent starts them again.

    Agents of a fixed number of machines do that together, so not once one of them has finished; torch's wait for each
    other all the same, for minutes.
    """
    line = plan.lifeline
    if line is None or not line.together or seen.engine is not None or len(seen.endings) < plan.hosted:
        return False, None
    told = tell(line, judge(plan, seen))
    return told is None, told


def tell(line: Lifeline, result: Result) -> Told | None:
    """Return the failure of this machine in the words for the others; None where it ended well."""
    if result.status == 0 and not result.signal:
        return None
    failure, host = result.failure, os.uname().nodename
    if failure is None:
        return Told(line.machine, host, result.at or time.time(), result.status, _why(result))
    ending = failure.ending
    # A death is noted after the peers have felt it; one that is itself felt so late is none of a victim's.
    abrupt = failure.at == ending.at and ending.signal not in (signal.SIGTERM, signal.SIGABRT)
    return Told(
        machine=line.machine,
        host=host,
        at=failure.at - (NOTED if abrupt else 0),
        status=1 if failure.cause == UNCAUGHT else result.status,
        cause=failure.cause,
        rank=ending.rank,
        local_rank=ending.local_rank,
        pid=ending.pid,
        device=failure.device,
        exception=failure.exception.splitlines()[0] if failure.exception else "",
        where=failure.where,
        log=failure.log,
    )


def _why(result: Result) -> str:
    if result.signal:
        return f"its launcher was ended by {name_of(result.signal)}"
    if result.status == READER_GONE:
        return "the reader of its launcher's output went away"
    return result.problems[0].splitlines()[0] if result.problems else f"exit status {result.status}"


def give(result: Result, watch: Watch) -> Result:
    """Return the result in the light of what the other launchers say."""
    line = watch.line
    said = watch.late or (f"the main machine turned this one away: {watch.refused}" if watch.refused else "")
    told = watch.conclude(tell(line, result))
    if said:
        return result.replace(status=1, failure=None, problems=(said,))
    if told is None or told.machine == line.machine:
        failure = result.failure.replace(machine=line.machine) if result.failure is not None else None
        return result.replace(failure=failure)
    status = result.status if result.signal else told.status
    return result.replace(status=status, failure=_failure(told), problems=())


def _failure(told: Told) -> Failure:
    """Return a failure of another machine as one of ours."""
    status = told.status - 128 if told.status > 128 else told.status << 8  # noqa: PLR2004 - as a shell counts signals
    rank = -1 if told.rank is None else told.rank
    return Failure(
        ending=Ending(rank, told.local_rank, told.pid, status, told.at),
        device=told.device,
        cause=told.cause,
        label=told.who if told.rank is None else "",
        at=told.at,
        exception=told.exception,
        where=told.where,
        log=told.log,
        host=told.host,
        machine=told.machine,
    )
