"""Ranks that do the same, told together."""

from __future__ import annotations

import os

from accel_config.record import Record
from accel_config.showing.printable import one_line
from accel_launch.inspecting.threads import NO_PYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from accel_launch.inspecting.places import Place
    from accel_launch.inspecting.snapshot import RankStack

MISMATCH = "the ranks wait in different collectives"
AWAITED = "the ranks wait for each other, in calls of torch's RPC"
TOGETHER = "all ranks are in the same place"
APART = "no rank waits in a collective"
HIDDEN = "which one is stuck isn't known, as not all stacks can be read"
BLAMELESS = (MISMATCH, AWAITED, TOGETHER, APART, HIDDEN)
"""Standstills for which no rank is more to blame than another."""
MOST_NAMED = 4  # groups in a sentence
MOST_SPANS = 20  # of a group's ranks in a line: thousands of ranks can alternate


class Group(Record):
    """Ranks that do the same."""

    ranks: tuple[int, ...]
    """Their numbers."""
    doing: str
    """Where they are and what they do there, in words."""
    collective: bool = False
    """Whether they wait for other ranks."""
    ended: bool = False
    """Whether they have ended."""
    file: str = ""
    """The file of the innermost call of the user's own code; empty if no stack could be read."""
    line: int = 0
    """Its line; of a loop that asks whether a collective is done, the loop's."""
    function: str = ""
    """Its function."""
    operations: tuple[str, ...] = ()
    """What was called from there, such as ``torch all_reduce``; at most two."""
    host: str = ""
    """The machine, in a run over several; empty for this one."""
    unread: str = ""
    """Why their stacks couldn't be read; empty if they could, or they aren't Python."""

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "ranks": list(self.ranks),
            "doing": self.doing,
            "waits_for_others": self.collective,
            "ended": self.ended,
            "file": self.file or None,
            "line": self.line or None,
            "function": self.function or None,
            "operations": list(self.operations),
            "host": self.host or None,
            "unread": self.unread or None,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Group:
        """Return what `as_json` described."""
        return cls(
            ranks=tuple(found["ranks"]),
            doing=found["doing"],
            collective=found["waits_for_others"],
            ended=found["ended"],
            file=found["file"] or "",
            line=found["line"] or 0,
            function=found["function"] or "",
            operations=tuple(found["operations"]),
            host=found["host"] or "",
            unread=found.get("unread") or "",
        )


def grouped(stacks: Iterable[RankStack]) -> tuple[Group, ...]:
    """Return the groups, first those that don't wait for other ranks."""
    found: dict[tuple[str, str], list[RankStack]] = {}
    for each in stacks:
        found.setdefault((each.doing, each.place.file), []).append(each)
    doings = [doing for doing, _file in found]
    return ordered(
        _group(_longer(doing, file) if doings.count(doing) > 1 else doing, members)
        for (doing, file), members in found.items()
    )


def _longer(doing: str, path: str) -> str:
    """Return what ranks do in a file of a name that another one has as well, with its whole path."""
    return doing.replace(os.path.basename(path), path, 1)


def placed(groups: Iterable[Group], places: Mapping[int, Place]) -> tuple[Group, ...]:
    """Return groups in which some ranks are at other ``places`` than they were seen at."""
    known = {rank: group for group in groups for rank in group.ranks}
    for rank, place in places.items():
        doing = ", ".join(filter(None, (place.text, "waiting" if place.collective else "")))
        known[rank] = _at(place, (rank,), doing, collective=place.collective)
    found: dict[str, list[int]] = {}
    for rank, group in known.items():
        found.setdefault(group.doing, []).append(rank)
    return ordered(known[ranks[0]].replace(ranks=tuple(sorted(ranks))) for ranks in found.values())


def ordered(groups: Iterable[Group]) -> tuple[Group, ...]:
    """Return groups as they are told: first who doesn't wait for other ranks, and is there; then the smallest."""
    return tuple(sorted(groups, key=lambda group: (group.collective, group.ended, len(group.ranks), group.ranks)))


def _group(doing: str, members: Sequence[RankStack]) -> Group:
    ranks = tuple(sorted(member.rank for member in members))
    place, process = members[0].place, members[0].process
    collective = place.waits(process.facts.state if process is not None else "")
    unread = process.unread if process is not None and process.unread != NO_PYTHON else ""
    return _at(place, ranks, doing, collective=collective, ended=process is None).replace(unread=unread)


def _at(place: Place, ranks: tuple[int, ...], doing: str, *, collective: bool, ended: bool = False) -> Group:
    return Group(
        ranks=ranks,
        doing=doing,
        collective=collective,
        ended=ended,
        file=place.file,
        line=place.line,
        function=place.function,
        operations=place.operations,
    )


def line(group: Group, ranks: int) -> str:
    """Return a group in one line, such as ``7 of 8 ranks (0-2, 4-7): train.py:88 train_step``.

    The names of files and functions are the ranks' own, so they can have line ends and escapes.
    """
    count, where = len(group.ranks), f" on {group.host}" if group.host else ""
    shown = spans(group.ranks, MOST_SPANS)
    return one_line(f"{count} of {ranks} {'rank' if ranks == 1 else 'ranks'} ({shown}){where}: {group.doing}")


def sentence(groups: Sequence[Group]) -> str:
    """Return groups in one sentence, such as ``rank 3: train.py:9 f; ranks 0-2: train.py:8 f``; the first few."""
    parts = [
        f"{'rank' if len(group.ranks) == 1 else 'ranks'} {spans(group.ranks, MOST_SPANS)}: {group.doing}"
        for group in groups[:MOST_NAMED]
    ]
    return "; ".join(parts) + "; ..." * (len(groups) > MOST_NAMED)


def spanned(ranks: Iterable[int]) -> list[list[int]]:
    """Return numbers as spans, each with its first and its last number."""
    found: list[list[int]] = []
    for rank in sorted(ranks):
        if found and rank == found[-1][1] + 1:
            found[-1][1] = rank
        else:
            found.append([rank, rank])
    return found


def spans(ranks: Iterable[int], most: int | None = None) -> str:
    """Return numbers in short form, such as ``0-2, 4``; with ``most``, no more than so many spans of them."""
    found = spanned(ranks)
    more = ", ..." if most is not None and len(found) > most else ""
    found = found[:most]
    return ", ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in found) + more
