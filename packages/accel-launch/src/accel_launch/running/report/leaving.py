"""Who has left: gloo tells a rank that waits for another that its connection is gone, but not to which rank it was.

A rank that ends, or calls ``destroy_process_group()``, closes its connections. So does one that has failed, and one
whose own connection was closed: neither of them is the one that has left.
"""

from __future__ import annotations

from accel_launch.inspecting.places import DESTROYING
from accel_launch.ranks.signals import here, signal
from accel_launch.running.report.evidence import timeouts
from accel_launch.running.report.timeout import Timeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeGuard

    from accel_launch.inspecting.groups import Group
    from accel_launch.planning.types import Plan
    from accel_launch.running.onlookers.stall.telling import Stall
    from accel_launch.running.report.blaming import Blame
    from accel_launch.running.report.observation import Observation
    from accel_launch.running.report.records import Ending

BY_STACKS, BY_SILENCE, BY_ENDING = "stacks", "silence", "ending"
FORCED = here("SIGTERM", "SIGKILL")
TOGETHER = 5.0  # seconds between a message and the look at all ranks, at most, if that look was for it
ENDED = "ended: exit status 0"
LEAVING = ("ending", "ended")
"""Kinds of ranks that the look has found on their way out, or gone."""


def ended(root: Ending, observation: Observation, blame: Blame) -> Timeout | None:
    """Return the wait for a rank that had ended without a failure, as the smaller part of the ranks had."""
    if not _lost(root, blame):
        return None
    well = [ending for ending in observation.endings if not ending.status]
    left = tuple(ending.rank for ending in well if ending.at <= root.at)
    if not left or not _fewer(well, observation):
        return None
    return _timeout(root, blame, left, ENDED, BY_ENDING)


def seen(plan: Plan, root: Ending, observation: Observation, blame: Blame) -> Timeout | None:
    """Return the wait for a rank that was seen to have left when the first one lost its connection."""
    stall, here_only = observation.standing, plan.lifeline is None and not plan.watching.elsewhere
    if stall is None or not here_only or not _lost(root, blame):
        return None
    if abs(stall.at - (blame.raised(root) or root.at)) > TOGETHER:
        return None
    victims = {ending for ending in observation.endings if _complains(ending, stall, observation, blame)}
    since = min((ending.at for ending in victims), default=root.at)
    others = [ending for ending in observation.endings if ending not in victims]
    if any(_failed(ending, since, blame) for ending in others):
        return None
    left, doing, source = _left([each for each in others if stall.kinds.get(each.rank) != "waiting"], stall)
    if not left or not _fewer(left, observation):
        return None
    return _timeout(root, blame, left, doing, source).replace(groups=stall.groups)


def _fewer(left: Sequence[object], observation: Observation) -> bool:
    """Return whether those that have left are one, or less than half.

    Of more, another one may wait for them by mistake, in a group that isn't its own: its peers lose it then.
    """
    return len(left) == 1 or len(left) * 2 < len(observation.endings)


def _left(others: list[Ending], stall: Stall) -> tuple[tuple[int, ...], str, str]:
    """Return who of those that neither wait nor complain has left, where that one was, and what says so."""
    gone = tuple(sorted(each.rank for each in others if not each.status and stall.kinds.get(each.rank) in LEAVING))
    if gone:
        return gone, ENDED, BY_ENDING  # others that are elsewhere may only be slower
    groups = {rank: group for group in stall.groups for rank in group.ranks}
    places = [group.doing for each in others if _placed(group := groups.get(each.rank), stall)]
    if len(places) < len(others):  # those without a place can't be told from one that was killed
        sure = len(others) == 1 and others[0].signal == signal.SIGTERM
        return ((others[0].rank,), "", BY_SILENCE) if sure else ((), "", "")
    left = tuple(sorted(each.rank for each in others))
    return (left, places[0], BY_STACKS) if len(set(places)) == 1 else ((), "", "")


def _lost(ending: Ending, blame: Blame) -> bool:
    """Return whether a rank ended as its connection to another one was gone."""
    found = blame.found(ending)
    return found is not None and timeouts.closed(found.exception)


def _complains(ending: Ending, stall: Stall, observation: Observation, blame: Blame) -> bool:
    """Return whether a rank has lost its connection, though it may have died of something else in the end."""
    output = observation.output(ending.local_rank)
    return _lost(ending, blame) or (output.written_at > stall.at - TOGETHER and timeouts.closed(output.text))


def _failed(ending: Ending, since: float, blame: Blame) -> bool:
    """Return whether a rank failed by itself: it wasn't terminated, as all are ``since`` the first one failed."""
    if not ending.status:
        return False
    found = blame.found(ending)
    forced = ending.signal in FORCED and ending.at >= since
    return not forced or (found is not None and bool(found.exception))


def _placed(group: Group | None, stall: Stall) -> TypeGuard[Group]:
    """Return whether it is known where ranks were: not that of an interpreter that ends, nor what can't be read."""
    if group is None or group.ended or not group.file:
        return False
    return stall.kinds.get(group.ranks[0]) != "ending" or DESTROYING in group.operations


def _timeout(root: Ending, blame: Blame, left: tuple[int, ...], doing: str, source: str) -> Timeout:
    at, found = blame.raised(root) or root.at, blame.found(root)
    where = found.where if found is not None else ""
    return Timeout(root.rank, timeouts.CLOSED, 0.0, at, left, doing, source, where=where)
