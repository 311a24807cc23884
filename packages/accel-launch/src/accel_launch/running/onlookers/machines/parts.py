"""What a machine sends of its ranks: groups, short enough for a message of the lifeline."""

from __future__ import annotations

from accel_config.record import Record
from accel_launch.inspecting.groups import Group, spanned
from accel_launch.running.lifeline.messages import GROUP_TEXT, MOST_GROUPS, MOST_SPANS, PLACE_TEXT, clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

BYTES = 8000  # of JSON that a machine's groups have at most
ELSEWHERE = "elsewhere"


class Part(Record):
    """Ranks of a machine that do the same, and are of one kind."""

    group: Group
    kind: str = ""
    """What the verdict says of them; empty if nobody judged."""
    local_rank: int = 0
    """That of the first of the ranks."""
    pid: int = 0
    unread: str = ""
    """Why it isn't known what a rank of its machine does that runs; see `Stall.unread`."""


def parts_of(
    groups: Sequence[Group], kinds: Mapping[int, str], processes: Mapping[int, tuple[int, int]], unread: str = ""
) -> tuple[Part, ...]:
    """Return groups as parts; ``processes`` has the local rank and the pid of each rank."""
    found: list[Part] = []
    for group in groups:
        by_kind: dict[str, list[int]] = {}
        for rank in group.ranks:
            by_kind.setdefault(kinds.get(rank, ""), []).append(rank)
        for kind, ranks in by_kind.items():
            local_rank, pid = processes.get(ranks[0], (0, 0))
            found.append(Part(group.replace(ranks=tuple(ranks)), kind, local_rank, pid, unread))
    return tuple(found)


def as_message(parts: Sequence[Part], limit: int = BYTES) -> list[dict[str, Any]]:
    """Return parts as a field of a message; what doesn't fit is told together, as being elsewhere."""
    import json

    shown = list(parts)
    while True:
        found = [_as_message(part) for part in shown]
        size = len(json.dumps(found, ensure_ascii=False).encode(errors="replace"))
        if len(shown) < 2 or (len(shown) <= MOST_GROUPS and size <= limit):  # noqa: PLR2004
            return found
        *shown, one, other = shown
        shown.append(_together(one, other))


def _together(one: Part, other: Part) -> Part:
    ranks = tuple(sorted({*one.group.ranks, *other.group.ranks}))
    collective = one.group.collective and other.group.collective
    # A rank that doesn't wait for others is the one to look at, so it must not vanish among those that do.
    kind = one.kind if one.kind != "waiting" else other.kind
    unread = one.group.unread or other.group.unread
    return one.replace(group=Group(ranks, ELSEWHERE, collective, host=one.group.host, unread=unread), kind=kind)


def _as_message(part: Part) -> dict[str, Any]:
    group = part.group
    return {
        "ranks": spanned(group.ranks)[:MOST_SPANS],
        "doing": clean(group.doing, GROUP_TEXT),
        "kind": part.kind,
        "waits": group.collective,
        "file": clean(group.file[-PLACE_TEXT:]),
        "line": group.line,
        "function": clean(group.function, PLACE_TEXT),
        "operations": [clean(operation, PLACE_TEXT) for operation in group.operations[:2]],
        "host": clean(group.host, GROUP_TEXT),
        "local_rank": part.local_rank,
        "pid": part.pid,
        "unread": clean(part.unread, GROUP_TEXT) or None,
        "reason": clean(group.unread, GROUP_TEXT) or None,
    }


def from_message(found: Sequence[Mapping[str, Any]]) -> tuple[Part, ...]:
    """Return the parts in a field of a message, which `messages` has checked."""
    return tuple(
        Part(
            Group(
                ranks=tuple(rank for first, last in each["ranks"] for rank in range(first, last + 1)),
                doing=each["doing"],
                collective=each["waits"],
                ended=each["kind"] == "ended",
                file=each["file"],
                line=each["line"],
                function=each["function"],
                operations=tuple(each["operations"]),
                host=each["host"],
                unread=each.get("reason") or "",
            ),
            each["kind"],
            each["local_rank"],
            each["pid"],
            each.get("unread") or "",
        )
        for each in found
    )
