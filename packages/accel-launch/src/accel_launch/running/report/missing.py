"""Who is missing when a rank has waited too long for another: by the surest of several sources."""

from __future__ import annotations

import signal

from accel_config.settings.readers import natural
from accel_launch.inspecting import groups
from accel_launch.inspecting.places import Place, locate
from accel_launch.inspecting.threads import Frame
from accel_launch.running.report import leaving
from accel_launch.running.report.evidence import peers, recorder, timeouts
from accel_launch.running.report.evidence.blocks import blocks
from accel_launch.running.report.evidence.lines import plain
from accel_launch.running.report.evidence.recorder import Collective
from accel_launch.running.report.timeout import Timeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from accel_launch.inspecting.groups import Group
    from accel_launch.planning.types import Plan
    from accel_launch.running.onlookers.stall.telling import Stall
    from accel_launch.running.report.blaming import Blame
    from accel_launch.running.report.evidence.timeouts import Complaint
    from accel_launch.running.report.observation import Observation
    from accel_launch.running.report.records import Ending

BY_MESSAGE, BY_RECORDER, BY_NUMBER = "message", "flight recorder", "watchdog"
TOGETHER = 5.0  # seconds before the first rank gives up in which another one may have done so


def find(plan: Plan, observation: Observation, blame: Blame) -> Timeout | None:
    """Return the wait by which the rank that failed first has ended; None if it ended otherwise."""
    if blame.root is None:
        return None
    waiter, own = _waiter(blame.root, observation, blame)
    if own is None:
        return leaving.ended(blame.root, observation, blame) or leaving.seen(plan, blame.root, observation, blame)
    dumps = observation.recorded()
    waited = _waited(observation, blame)
    seen = groups.placed(observation.standing.groups if observation.standing is not None else (), waited)
    missing, source = _missing(plan, observation, blame, own, dumps, seen)
    place = waited.get(waiter.rank, Place())
    return Timeout(
        rank=waiter.rank,
        operation=own.operation if own.operation.isupper() else _called(place.operations) or own.operation,
        where=f"{place.file}:{place.line}" if place.file else "",
        seconds=own.seconds,
        at=blame.raised(waiter) or waiter.at,
        missing=missing,
        doing=_doing(missing[0], seen) if missing else "",
        source=source,
        groups=seen,
        collectives=recorder.last(dumps) or _waits(seen),
    )


def _waiter(root: Ending, observation: Observation, blame: Blame) -> tuple[Ending, Complaint | None]:
    """Return who waited too long: the rank that failed first, or another one whose end that one has only felt."""
    own = _own(root, observation, blame)
    if own is None and _lost(root, blame) and leaving.ended(root, observation, blame) is None:
        others = sorted(observation.endings, key=lambda ending: blame.raised(ending) or ending.at)
        for other in others:
            found = _own(other, observation, blame)
            if found is not None and (blame.raised(other) or other.at) <= root.at + TOGETHER:
                return other, found
    return root, own


def _waited(observation: Observation, blame: Blame) -> dict[int, Place]:
    """Return where ranks waited that ended by it: who looks at such a rank sees it later, on its way out."""
    waited: dict[int, Place] = {}
    for ending in observation.endings:
        found = blame.found(ending)
        if found is not None and (timeouts.complaint(found.exception) or peers.lost(found.exception)):
            frames = next((block.frames for block in blocks(plain(found.traceback)) if block.frames), ())
            waited[ending.rank] = locate([_frame(*each) for each in reversed(frames)]).replace(collective=True)
    return waited


def _frame(place: str, function: str) -> Frame:
    file, _colon, line = place.rpartition(":")
    return Frame(function, file, natural(line) or 0)


def _called(operations: Sequence[str]) -> str:
    """Return the public name of a collective, such as ``all_reduce`` for ``torch all_reduce``."""
    names = [operation.rpartition(" ")[2] for operation in operations]
    return next((name for name in reversed(names) if not name.startswith("_")), "")


def _waits(seen: Sequence[Group]) -> tuple[Collective, ...]:
    """Return the collectives in which ranks were seen waiting."""
    return tuple(
        Collective(rank, "", 0, _called(group.operations) or "wait", done=False, where=f"{group.file}:{group.line}")
        for group in seen
        for rank in group.ranks
        if group.collective
    )


def _own(root: Ending, observation: Observation, blame: Blame) -> Complaint | None:
    """Return the wait that ended a rank. Its output counts only where C++ ended it; it may have handled others."""
    found = blame.found(root)
    if root.signal == signal.SIGABRT:
        return timeouts.fatal(observation.output(root.local_rank).text)
    return timeouts.complaint(found.exception) if found is not None else None


def _missing(  # noqa: PLR0913, PLR0917
    plan: Plan,
    observation: Observation,
    blame: Blame,
    own: Complaint,
    dumps: dict[int, Any],
    seen: Sequence[Group],
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
        return elsewhere, leaving.BY_STACKS
    apart = _apart(seen, blame)
    if apart:
        return apart, leaving.BY_STACKS
    silent = [
        ending.rank
        for ending in observation.endings
        if ending.rank not in complaints.keys() | lost and ending.signal in leaving.FORCED
    ]
    alone = plan.lifeline is None and len(silent) == 1
    return (tuple(silent), leaving.BY_SILENCE) if alone else ((), "")


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
    found = {rank: kind for rank, kind in stall.kinds.items() if kind != "waiting" and rank not in victims}
    living = tuple(rank for rank, kind in found.items() if kind != "ended")
    return living or tuple(found)  # one that has ended may only have had less to do


def _late(group: Group) -> bool:
    """Return whether ranks were looked at too late: they had been terminated by then."""
    return group.ended and (group.doing == "ended" or "terminated by" in group.doing)


def _apart(seen: Sequence[Group], blame: Blame) -> tuple[int, ...]:
    """Return the ranks that wait at another line than most; of two, the one that didn't fail first."""
    places = {rank: f"{group.file}:{group.line}" for group in seen if group.collective for rank in group.ranks}
    if len(set(places.values())) < 2:  # noqa: PLR2004
        return ()
    there = places.get(blame.root.rank) if blame.root is not None else None
    shared = {place: sum(each == place for each in places.values()) for place in places.values()}
    fewest = min(shared, key=lambda place: (shared[place], place == there))
    return tuple(sorted(rank for rank, place in places.items() if place == fewest))


def _doing(rank: int, seen: Sequence[Group]) -> str:
    """Return where a rank was, unless it was looked at when we had terminated it already."""
    group = next((group for group in seen if rank in group.ranks), None)
    return "" if group is None or _late(group) else group.doing
