"""From an observation to a result: one status, and which rank failed first and why."""

from __future__ import annotations

import os

from accel_config.errors import FAILED, READER_GONE, TIMED_OUT
from accel_launch.machine.clock import local_time
from accel_launch.ranks.signals import here, signal
from accel_launch.ranks.tool import WRAP
from accel_launch.running.report import evidence
from accel_launch.running.report.blaming import Blame
from accel_launch.running.report.records import Ending, Failure, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.planning.types import Command, Plan
    from accel_launch.running.report.observation import Observation
    from accel_launch.running.report.timeout import Timeout

NOTICE = 0.5  # seconds by which the launcher may notice a death later than its peers complain of it
UNCAUGHT = "an uncaught exception; terminated while it cleaned up"
DEBUG = "TORCH_DISTRIBUTED_DEBUG"
SENT = "sent by another process"
OUT_OF_MEMORY = "out of memory (killed by the OOM killer)"
CRASHES = here("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT")


def judge(plan: Plan, observation: Observation) -> Result:
    """Return the one status of what was observed, and the first failure in words."""
    engine, guardian = observation.engine, observation.guardian
    first = _first(plan, observation)
    problems = [*observation.unstarted, *observation.unwritable]
    refused = bool(observation.unstarted) and first is not None and first.signal == signal.SIGKILL  # by the guardian
    if first is not None and engine is not None and _killed(engine, first, observation):
        cause = _cause(engine, observation.killed_for_memory, detail=False)
        problems.append(f"{plan.engine} was killed, and its ranks were terminated with it: {cause}")
        first = engine
    if engine is not None and not engine.status and observation.unended and not _asked(observation):
        ranks = ", ".join(map(str, observation.unended))
        problems.append(f"{plan.engine}: the end of rank {ranks} isn't known; its parent was killed")
    blame = Blame(plan, observation)
    if first is not None and first is not engine and not first.later:
        blame.choose(first)
    timeout = _timeout(plan, observation, blame)
    if observation.stalled:
        blame.root = _stuck(observation) or blame.root
    root = blame.root
    if guardian is not None:
        how = f"was {guardian.how}" if guardian.signal else "failed"
        problems.append(f"the launcher's guardian process {how}; every rank was terminated")
    failing = root is not None and not (observation.signalled or observation.reader_gone or guardian or refused)
    if first is None and root is None and engine is not None and engine.status and not observation.signalled:
        output = observation.output(-1).text
        problems.append(f"{plan.engine} failed, but none of its ranks did: {engine.how}\n{output}".rstrip())
    return Result(
        status=FAILED if refused and not _asked(observation) else _status(plan, first or engine, observation),
        signal=observation.signalled,
        at=_when(observation),
        failure=_failure(plan, root, observation, blame, timeout) if root is not None and failing else None,
        also_raised=blame.also_raised() if root is not None and failing else (),
        endings=observation.endings,
        problems=tuple(problems),
        earlier=observation.earlier,
        notes=(*observation.notes, *map(attempt_note, range(len(observation.earlier)), observation.earlier)),
        printed=observation.printed,
        stalls=observation.stalls,
        stacks=observation.stacks,
        collective_timeout=timeout,
        outcomes=_outcomes(plan, observation),
        cpus=plan.cpus,
    )


def _first(plan: Plan, observation: Observation) -> Ending | None:
    """Return how the rank ended that failed first; else one that asks to be queued again; None if all ended well."""
    asking: Ending | None = None
    for ending in observation.endings:
        if asking is None and ending.later:
            asking = ending
        if ending.failed and not (asking is not None and _terminated(plan, ending, asking)):
            return ending
    return asking


def _terminated(plan: Plan, ending: Ending, asking: Ending) -> bool:
    """Return whether a rank was terminated because it outlived one that asks to be queued again for too long."""
    late = bool(plan.hosted) or ending.at >= asking.at + plan.grace
    return ending.signal in (signal.SIGTERM, signal.SIGKILL) and late


def _timeout(plan: Plan, observation: Observation, blame: Blame) -> Timeout | None:
    """Return the wait for another rank by which the first one failed, and blame the one that didn't come."""
    if blame.root is None or blame.finding is None or _asked(observation) or observation.stalled:
        return None
    try:
        from accel_launch.running.report import missing
    except (ImportError, OSError):  # no descriptor is left to load it with
        return None
    found = missing.find(plan, observation, blame)
    if found is not None and found.missing:
        absent = (ending for ending in observation.endings if ending.rank == found.missing[0])
        blame.root = next(absent, blame.root)
    return found


def _stuck(observation: Observation) -> Ending | None:
    """Return how the rank ended that is to blame for a standstill; None if it isn't one of this machine.

    Nobody may have seen its end: an engine can kill a rank's parent. It was asked to end by SIGTERM, as all were.
    """
    stall = observation.stalls[-1]
    found = next((ending for ending in observation.endings if ending.rank == stall.culprit), None)
    seen = next((each for each in stall.stacks if each["rank"] == stall.culprit), None)
    if found is not None or seen is None:
        return found
    at = observation.asked or stall.at
    return Ending(stall.culprit, seen["local_rank"], seen["pid"], 128 + signal.SIGTERM, int(signal.SIGTERM), at)


def _asked(observation: Observation) -> bool:
    """Return whether something other than a rank ended the run."""
    return bool(observation.signalled or observation.reader_gone or observation.guardian or observation.unwritable)


def _killed(engine: Ending, first: Ending, observation: Observation) -> bool:
    """Return whether the engine was killed before the ``first`` rank failed, which then only ended with it."""
    by_us = _asked(observation) or observation.stalled
    return bool(engine.signal) and not by_us and engine.at <= first.at


def _when(observation: Observation) -> float | None:
    if observation.asked is None:
        return observation.engine.at if observation.engine is not None else None
    return observation.asked - (NOTICE if observation.guardian else 0)  # its ranks died with it


def attempt_note(number: int, endings: tuple[Ending, ...]) -> str:
    """Return what ended an attempt after which the engine restarted its ranks."""
    first = next((ending for ending in endings if ending.status), None)
    why = f"rank {first.rank}: {first.how}" if first is not None else "no rank here failed"
    when = f" at {local_time(endings[-1].at)}" if endings else ""
    return f"attempt {number} ended{when} ({why}); the ranks were restarted"


def _status(plan: Plan, first: Ending | None, observation: Observation) -> int:
    if observation.signalled:
        return 128 + observation.signalled
    if observation.unwritable:
        return FAILED
    if observation.stalled:
        return TIMED_OUT
    if observation.reader_gone:
        return READER_GONE
    if observation.guardian is not None:
        return observation.guardian.status
    if first is not None and first.status:
        return first.status
    without = observation.engine is None and (observation.unstarted or len(observation.endings) < len(plan.commands))
    known = (observation.endings or first is not None) and not (observation.unended or without)
    return 0 if known else FAILED


def _failure(plan: Plan, ending: Ending, observation: Observation, blame: Blame, timeout: Timeout | None) -> Failure:
    local = ending.local_rank
    raised, found = blame.raised(ending), blame.found(ending)
    if observation.stalled and found is not None and found.exception.startswith("KeyboardInterrupt"):
        found = None  # of a Ctrl-C that came after the standstill
    absent = timeout is not None and ending.rank in timeout.missing[:1]
    return Failure(
        ending=ending,
        device=plan.devices[local] if local < len(plan.devices) else None,
        cause=_why(plan, ending, observation, timeout, raised=bool(raised)),
        at=timeout.at if absent and timeout is not None else raised or ending.at,
        label=plan.commands[local].label if local < len(plan.commands) else "",
        exception=found.exception if found is not None else "",
        where=found.where if found is not None else "",
        traceback=found.traceback if found is not None else "",
        last_line=found.last_line if found is not None else "",
        log=observation.log(local),
    )


def _why(plan: Plan, ending: Ending, observation: Observation, timeout: Timeout | None, *, raised: bool) -> str:
    if observation.stalled:
        return observation.stalls[-1].cause
    if timeout is not None and timeout.missing:
        return timeout.cause if ending.rank == timeout.missing[0] else timeout.elsewhere
    if raised and ending.signal:
        return UNCAUGHT
    commands = plan.commands[ending.local_rank : ending.local_rank + 1] or plan.commands[:1]  # an engine has one
    tooled = ending.signal == signal.SIGKILL and any(
        one.tooled or (plan.hosted and WRAP in one.argv) for one in commands
    )
    cause = _cause(ending, observation.killed_for_memory, detail=_detail(commands))
    return cause.replace(SENT, f"{SENT}, by the command of --wrap") if tooled else cause


def _detail(commands: tuple[Command, ...]) -> bool:
    """Return whether torch's DETAIL is in force for a rank, whoever has set it."""
    environ = commands[0].env if commands else {}
    return environ.get(DEBUG, os.environ.get(DEBUG, "")).upper() == "DETAIL"


def _cause(ending: Ending, killed_for_memory: bool, *, detail: bool) -> str:
    if ending.signal == signal.SIGKILL:
        if killed_for_memory:
            return f"{ending.how}: {OUT_OF_MEMORY}"
        return f"{ending.how}: sent by another process, or by the OOM killer (see dmesg)"
    if ending.signal == signal.SIGSEGV and detail:
        return (
            f"{ending.how}: a crash in native code. The suspect is {DEBUG}=DETAIL, with which torch's DDP crashes on "
            "the CPU (seen with torch 2.13 and 2.15): set it to INFO, or unset it"
        )
    if ending.signal in CRASHES:
        return f"{ending.how}: a crash in native code"
    return ending.how


def _outcomes(plan: Plan, observation: Observation) -> tuple[tuple[str, str], ...]:
    endings = {ending.local_rank: ending for ending in observation.endings}
    return tuple(
        (command.label, _outcome(endings.get(local), observation.error(local)))
        for local, command in enumerate(plan.commands)
        if command.label
    )


def _outcome(ending: Ending | None, error: str) -> str:
    if ending is None:
        return "not started"
    how = ending.how if ending.status else "ok"
    if not error:
        return how
    finding = evidence.loaded()
    said = finding.message_in(error) if finding is not None else ""
    return f"{how}: {said}" if said else how
