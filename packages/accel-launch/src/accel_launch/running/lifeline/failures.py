"""From how the run ended on this machine to a failure for the other launchers, and back."""

from __future__ import annotations

import os
import time

from accel_config.errors import READER_GONE, TIMED_OUT
from accel_launch.ranks.signals import signal
from accel_launch.running.lifeline.remote_failure import RemoteFailure
from accel_launch.running.report.judging import NOTICE, UNCAUGHT, judge
from accel_launch.running.report.records import Ending, Failure, signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.planning.types import Plan
    from accel_launch.running.lifeline import Lifeline
    from accel_launch.running.report.observation import Observation
    from accel_launch.running.report.records import Result


def final(plan: Plan, observation: Observation) -> RemoteFailure | None:
    """Return the failure that ends the run everywhere, even while ranks still live here; None if there is none."""
    line = plan.lifeline
    if observation.stalled and not observation.signalled:
        return _stalled(line, observation) if line is not None and line.main else None
    asked = observation.signalled or observation.reader_gone
    if line is None or not (asked or any(ending.failed for ending in observation.endings)):
        return None
    # An agent that may restart its ranks decides by itself, and so does one that takes in machines.
    if not asked and (line.restarts or line.least < line.machines):
        return None
    return of(line.machine, judge(plan, observation))


def _stalled(line: Lifeline, observation: Observation) -> RemoteFailure:
    """Return the standstill for which the main machine ends the run, by the rank to blame, wherever that is."""
    stall = observation.stalls[-1]
    fault = stall.at_fault
    if fault is None:
        return RemoteFailure(line.machine, os.uname().nodename, stall.at, TIMED_OUT, stall.cause)
    return RemoteFailure(
        machine=fault.machine,
        host=fault.host,
        at=stall.at,
        status=TIMED_OUT,
        cause=stall.cause,
        rank=fault.rank,
        local_rank=fault.local_rank,
        pid=fault.pid,
    )


def standstill(plan: Plan, observation: Observation) -> tuple[bool, RemoteFailure | None]:
    """Return whether all ranks here have ended well, and the failure after which the agent restarts them.

    The agents of a fixed number of machines restart together, so they can't once one of them has finished; torch's
    wait for each other all the same, for minutes.
    """
    line = plan.lifeline
    if line is None or not line.together or observation.engine is not None or len(observation.endings) < plan.hosted:
        return False, None
    failure = of(line.machine, judge(plan, observation))
    return failure is None, failure


def of(machine: int, result: Result) -> RemoteFailure | None:
    """Return the failure of this ``machine``; None if the run ended well here."""
    if result.status == 0 and not result.signal:
        return None
    failure, host = result.failure, os.uname().nodename
    if failure is None:
        return RemoteFailure(machine, host, result.at or time.time(), result.status, _why(result))
    ending = failure.ending
    # A death is noticed after the peers have felt it. A death that itself follows slowly isn't one of a victim.
    abrupt = failure.at == ending.at and ending.signal not in (signal.SIGTERM, signal.SIGABRT)
    return RemoteFailure(
        machine=machine,
        host=host,
        at=failure.at - (NOTICE if abrupt else 0),
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
        return f"its launcher was terminated by {signal_name(result.signal)}"
    if result.status == READER_GONE:
        return "the reader of its launcher's output went away"
    return result.problems[0].splitlines()[0] if result.problems else f"exit status {result.status}"


def shown(failure: RemoteFailure) -> Failure:
    """Return a failure of another machine for the report here."""
    rank = -1 if failure.rank is None else failure.rank
    number = max(0, failure.status - 128)
    return Failure(
        ending=Ending(rank, failure.local_rank, failure.pid, failure.status, number, failure.at),
        device=failure.device,
        cause=failure.cause,
        label=failure.who if failure.rank is None else "",
        at=failure.at,
        exception=failure.exception,
        where=failure.where,
        log=failure.log,
        host=failure.host,
        machine=failure.machine,
    )
