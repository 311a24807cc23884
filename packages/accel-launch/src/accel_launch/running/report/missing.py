"""Who is missing when a rank has waited too long for another: by the surest of several sources."""

from __future__ import annotations

import os
import signal

from accel_launch.running.report.evidence import peers, recorder, timeouts
from accel_launch.running.report.timeout import Timeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_launch.inspecting.groups import Group
    from accel_launch.planning.types import Plan
    from accel_launch.running.onlookers.stall.telling import Stall
    from accel_launch.running.report.blaming import Blame
    from accel_launch.running.report.evidence.timeouts import Complaint
    from accel_launch.running.report.observation import Observation
    from accel_launch.running.report.records import Ending

BY_MESSAGE, BY_RECORDER, BY_NUMBER = "message", "flight recorder", "watchdog"
BY_STACKS, BY_SILENCE, BY_ENDING = "stacks", "silence", "ending"
TOGETHER = 5.0  # seconds before the first rank gives up in which another one may have done so
FORCED = (signal.SIGTERM, signal.SIGKILL)


def find(plan: Plan, observation: Observation, blame: Blame) -> Timeout | None:
    """Return the wait by which the rank that failed first has ended; None if it ended otherwise."""
    root = blame.root
    own = None if root is None else _own(root, observation, blame)
    if root is None or own is None:
        return None if root is None else _left(root, observation, blame)
    stall = observation.standing
    dumps = observation.recorded()
    missing, source = _missing(plan, observation, blame, own, dumps)
    return Timeout(
        rank=root.rank,
        operation=own.operation,
        seconds=own.seconds,
        at=blame.raised(root) or root.at,
        missing=missing,
        doing=_doing(missing[0], observation, blame) if missing else "",
        source=source,
        groups=stall.groups if stall is not None else (),
        collectives=recorder.last(dumps),
    )


def _left(root: Ending, observation: Observation, blame: Blame) -> Timeout | None:
    """Return the wait for a rank that had ended without a failure, as the smaller part of the ranks had."""
    found = blame.found(root)
    if found is None or timeouts.CLOSED not in found.exception:
        return None
    before = observation.endings[: observation.endings.index(root)]
    left = tuple(ending.rank for ending in before if not ending.status)
    if not left or len(left) * 2 > len(observation.endings):
        return None
    return Timeout(
        root.rank, timeouts.CLOSED, 0.0, blame.raised(root) or root.at, left, "ended: exit status 0", BY_ENDING
    )


def _own(root: Ending, observation: Observation, blame: Blame) -> Complaint | None:
    """Return the wait that ended a rank. Its output counts only where C++ ended it; it may have handled others."""
    found = blame.found(root)
    if root.signal == signal.SIGABRT:
        return timeouts.fatal(observation.output(root.local_rank).text)
    return timeouts.complaint(found.exception) if found is not None else None


def _missing(
    plan: Plan, observation: Observation, blame: Blame, own: Complaint, dumps: dict[int, Any]
) -> tuple[tuple[int, ...], str]:
    """Return who is missing, and what says so: the surest source that knows."""
    outputs = {ending.rank: observation.output(ending.local_rank) for ending in observation.endings}
    texts = {rank: output.text for rank, output in outputs.items()}
    since = blame.raised(blame.root) - TOGETHER if blame.root is not None else 0.0  # it has handled earlier ones
    recent = {rank: output.text for rank, output in outputs.items() if output.written_at > since}
    complaints = {rank: found for rank, text in recent.items() if (found := timeouts.complaint(text))}
    same = [found for found in complaints.values() if found.operation == own.operation]
    named = {rank for found in (own, *same) for rank in found.missing}
    if named:
        return tuple(sorted(named)), BY_MESSAGE
    recorded = recorder.missing(dumps)
    if recorded:
        return recorded, BY_RECORDER
    counted = {rank: number for rank, text in texts.items() if (number := timeouts.enqueued(text)) is not None}
    behind = tuple(sorted(rank for rank, number in counted.items() if own.number and number < own.number))
    if behind:
        return behind, BY_NUMBER
    lost = {ending.rank for ending in observation.endings if _lost(ending, blame)}
    elsewhere = _elsewhere(observation.standing, complaints.keys() | lost)
    if elsewhere:
        return elsewhere, BY_STACKS
    apart = _apart(observation, blame)
    if apart:
        return apart, BY_STACKS
    silent = [
        ending.rank
        for ending in observation.endings
        if ending.rank not in complaints.keys() | lost and ending.signal in FORCED
    ]
    alone = plan.lifeline is None and len(silent) == 1
    return (tuple(silent), BY_SILENCE) if alone else ((), "")


def _lost(ending: Ending, blame: Blame) -> bool:
    """Return whether a rank ended by an exception that the end of another one has caused."""
    found = blame.found(ending)
    return found is not None and peers.lost(found.exception)


def _elsewhere(stall: Stall | None, victims: set[int]) -> tuple[int, ...]:
    """Return the ranks that neither wait nor have waited; none if some were seen too late to know."""
    if stall is None:
        return ()
    late = {rank for group in stall.groups if _late(group) for rank in group.ranks}
    if late - victims:
        return ()
    return tuple(rank for rank, kind in stall.kinds.items() if kind != "waiting" and rank not in victims)


def _late(group: Group) -> bool:
    """Return whether ranks were looked at too late: they had been terminated by then."""
    return group.ended and (group.doing == "ended" or "terminated by" in group.doing)


def _apart(observation: Observation, blame: Blame) -> tuple[int, ...]:
    """Return the ranks that wait at another line than most; of two, the one that didn't fail first."""
    stall = observation.standing
    groups = stall.groups if stall is not None else ()
    places = {rank: f"{group.file}:{group.line}" for group in groups if group.collective for rank in group.ranks}
    for ending in observation.endings:
        found = blame.found(ending)
        if found is not None and found.where and (timeouts.complaint(found.exception) or peers.lost(found.exception)):
            places[ending.rank] = found.where
    if len(set(places.values())) < 2:  # noqa: PLR2004
        return ()
    there = places.get(blame.root.rank) if blame.root is not None else None
    shared = {place: sum(each == place for each in places.values()) for place in places.values()}
    fewest = min(shared, key=lambda place: (shared[place], place == there))
    return tuple(sorted(rank for rank, place in places.items() if place == fewest))


def _doing(rank: int, observation: Observation, blame: Blame) -> str:
    """Return where a rank was: where it raised, else as it was seen, unless we had terminated it by then."""
    stall = observation.standing
    group = next((group for group in (stall.groups if stall is not None else ()) if rank in group.ranks), None)
    found = next((each for each in observation.endings if each.rank == rank), None)
    raised = blame.found(found) if found is not None else None
    if raised is not None and raised.exception and raised.where:
        return os.path.basename(raised.where)
    return "" if group is None or _late(group) else group.doing
