"""The answer of `accelerate stacks` in a run over several machines."""

from __future__ import annotations

from accel_launch.inspecting.groups import Group
from accel_launch.running.onlookers.machines import merging
from accel_launch.running.onlookers.machines.parts import Part, from_message
from accel_launch.running.onlookers.machines.station import UNKNOWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from accel_launch.running.onlookers.machines.gathering import Round
    from accel_launch.running.onlookers.machines.station import Station


def with_others(found: Mapping[str, Any], station: Station, others: Round | None) -> Mapping[str, Any]:
    """Return an answer with the groups of the other machines, or with where they can be had; in the fork."""
    if others is None:
        where = station.elsewhere
        return {**found, "elsewhere": where} if where else {**found, "unasked": [UNKNOWN]}
    heard = others.read()
    own = tuple(Part(Group.from_json(group)) for group in found["groups"])
    parts = {station.machine: own, **{one["machine"]: from_message(one["groups"]) for one in heard["machines"]}}
    hosts = {station.machine: station.host, **{one["machine"]: one["host"] for one in heard["machines"]}}
    groups = merging.merged(parts, hosts)
    return {
        **found,
        "groups": [group.as_json() for group in groups],
        "all_ranks": sum(len(group.ranks) for group in groups),
        "unasked": heard["unasked"],
    }
