"""The groups of several machines as those of one run."""

from __future__ import annotations

from accel_launch.inspecting.groups import MOST_SPANS, ordered, spans
from accel_launch.running.lifeline.messages import MOST_UNASKED
from accel_launch.running.onlookers.stall.telling import ENDED, Culprit, Stall
from accel_launch.running.onlookers.stall.verdict import odd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from accel_launch.inspecting.groups import Group
    from accel_launch.running.onlookers.machines.parts import Part

NAMED = 3  # machines of a group that are named with their hosts; more are counted


def name(machine: int, host: str) -> str:
    """Return a machine in words, such as ``machine 2 (node3)``."""
    return f"machine {machine} ({host})" if host else f"machine {machine}"


def unasked(reasons: Mapping[int, str], hosts: Mapping[int, str]) -> tuple[str, ...]:
    """Return the machines that couldn't be asked, each with its reason; of many the first, and how many there are.

    A negative number stands for launchers of which nothing is known.
    """
    found = [
        f"{name(machine, hosts.get(machine, ''))}: {why}" if machine >= 0 else why
        for machine, why in sorted(reasons.items())
        if why
    ]
    if len(found) <= MOST_UNASKED:
        return tuple(found)
    rest = found[MOST_UNASKED - 1 :]
    same = f": {ENDED}" if all(each.endswith(ENDED) for each in rest) else ""
    return (*found[: MOST_UNASKED - 1], f"{len(rest)} more machines{same}")


def merged(parts: Mapping[int, Sequence[Part]], hosts: Mapping[int, str]) -> tuple[Group, ...]:
    """Return the groups of all machines, those that do the same together, each with the names of its machines."""
    found: dict[tuple[str, bool], list[tuple[int, Group]]] = {}
    for machine, of_machine in sorted(parts.items()):
        for part in of_machine:
            found.setdefault((part.group.doing, part.group.collective), []).append((machine, part.group))
    groups = [
        same[0][1].replace(
            ranks=tuple(sorted({rank for _machine, group in same for rank in group.ranks})),
            host=_names(sorted({machine for machine, _group in same}), hosts),
        )
        for same in found.values()
    ]
    return ordered(groups)


def _names(machines: Sequence[int], hosts: Mapping[int, str]) -> str:
    if not any(hosts.values()):  # a launcher that only knows of its own ranks
        return ""
    if len(machines) > NAMED:
        return f"{len(machines)} machines ({spans(machines, MOST_SPANS)})"
    return ", ".join(name(machine, hosts.get(machine, "")) for machine in machines)


def stall(
    parts: Mapping[int, Sequence[Part]],
    hosts: Mapping[int, str],
    unasked: Sequence[str],
    *,
    at: float,
    since: float,
) -> Stall:
    """Return the standstill of the whole run."""
    kinds = {rank: part.kind for of_machine in parts.values() for part in of_machine for rank in part.group.ranks}
    kinds = {rank: kinds[rank] for rank in sorted(kinds)}
    unread = (part.unread for of_machine in parts.values() for part in of_machine)
    return Stall(
        at=at,
        since=since,
        ranks=tuple(kinds),
        groups=merged(parts, hosts),
        kinds=kinds,
        odd=odd(kinds),
        unasked=tuple(unasked),
        unread=next(filter(None, unread), ""),
    )


def culprit(found: Stall, parts: Mapping[int, Sequence[Part]], hosts: Mapping[int, str]) -> Culprit:
    """Return the process to blame for a standstill of these parts."""
    for machine, of_machine in parts.items():
        for part in of_machine:
            if found.culprit in part.group.ranks:
                first = found.culprit == part.group.ranks[0]
                process = (part.local_rank, part.pid) if first else (0, 0)
                return Culprit(machine, hosts.get(machine, ""), found.culprit, *process)
    raise ValueError(found.culprit)
