"""A standstill as data and as text."""

from __future__ import annotations

from accel_config.record import Record
from accel_config.showing.printable import one_line
from accel_launch.inspecting.groups import (
    APART,
    AWAITED,
    HIDDEN,
    MISMATCH,
    MOST_SPANS,
    TOGETHER,
    Group,
    line,
    sentence,
    spans,
)
from accel_launch.inspecting.places import remotely
from accel_launch.machine.clock import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from accel_launch.running.onlookers.stall.verdict import Verdict

LINES = 20  # that a message may have
ENDED = "its ranks have ended"
PATIENCE = 4  # times as long has a rank to be in what looks like a loop until that ends the run, or is said at all
LOOPING = "always at the same lines"
SLOW = "rank {} computes, and may only be slow"
PACED = "at the same lines with other variables each time, and may only be slow, so this ends no run: {} {}"


class Culprit(Record):
    """The process to blame, for the report of every machine."""

    machine: int
    host: str
    rank: int
    local_rank: int
    pid: int


class Stall(Record):
    """A run that stands still."""

    at: float
    """When that was found, in seconds since the epoch."""
    since: float
    """When something last moved."""
    ranks: tuple[int, ...]
    """All ranks that were looked at."""
    groups: tuple[Group, ...]
    """Ranks that do the same; first those that aren't where the others wait."""
    kinds: dict[int, str]
    """What each rank does: waiting, still, pacing, looping, stopped, unread, ending or ended."""
    odd: tuple[int, ...] = ()
    """The ranks that aren't where the others wait; none if all wait, or none does."""
    unasked: tuple[str, ...] = ()
    """Machines whose launcher couldn't be asked."""
    unread: str = ""
    """Why it isn't known what a rank that runs now and then does there; empty if its stack could be read."""
    at_fault: Culprit | None = None
    """The process to blame, in a run with ranks elsewhere."""
    stacks: tuple[Mapping[str, Any], ...] = ()
    """Every rank of this machine with its whole stacks, in the form of `accel_launch.stacks`."""

    @property
    def seconds(self) -> float:
        """How long nothing has moved."""
        return self.at - self.since

    @property
    def mismatch(self) -> bool:
        """Whether all wait for each other, but not in the same collective."""
        return self._divided and not self._remote

    @property
    def _divided(self) -> bool:
        return set(self.kinds.values()) == {"waiting"} and len(self.groups) > 1

    @property
    def _remote(self) -> bool:
        return any(remotely(group.operations) for group in self.groups)

    @property
    def blameless(self) -> str:
        """Why no rank is more to blame than another, in words; empty if one is."""
        if self._divided:
            return AWAITED if self._remote else MISMATCH
        if self.odd or len(self.ranks) == 1:
            return ""
        if len(self.groups) == 1:
            return TOGETHER if self.groups[0].file else HIDDEN
        if "unread" in self.kinds.values():
            return HIDDEN
        counts = sorted(len(group.ranks) for group in self.groups if not group.ended)
        return APART if len(counts) > 1 and counts[0] == counts[1] else ""

    @property
    def culprit(self) -> int:
        """The rank to blame: the first that isn't where the others wait, else the first of the smallest group."""
        return self.odd[0] if self.odd else self.groups[0].ranks[0]

    @property
    def sure(self) -> bool:
        """Whether it is sure that nothing gets on, and who is to blame: else the run isn't ended."""
        if self.unread or self.pacing:
            return False
        known = all(each.endswith(ENDED) for each in self.unasked)
        return known or set(self.kinds.values()) != {"waiting"} or self.mismatch

    @property
    def pacing(self) -> tuple[int, ...]:
        """The ranks that wake up at the same lines with other variables each time: they may get on."""
        return tuple(rank for rank, found in self.kinds.items() if found == "pacing")

    @property
    def perhaps(self) -> bool:
        """Whether the one to blame computes, in few calls: in a loop without end, or in one that only takes long."""
        return bool(self.groups) and self.kinds.get(self.culprit) == "looping"

    @property
    def cause(self) -> str:
        """Why the run was ended, in words."""
        return f"standing still for {duration(self.seconds)}: {self.reason}"

    @property
    def reason(self) -> str:
        """What the one to blame does; or which ranks are where, if several are to blame, or none is."""
        if self.blameless:
            return f"{self.blameless}: {sentence(self.groups)}"
        found = [group.replace(doing=group.doing + self._looping(group)) for group in self.blamed]
        return found[0].doing if len(found) == len(found[0].ranks) == 1 else sentence(found)

    @property
    def blamed(self) -> tuple[Group, ...]:
        """The ranks to blame, in their groups; none if no rank is more to blame than another."""
        if self.blameless:
            return ()
        named = set(self.odd or self.groups[0].ranks)
        parts = (group.replace(ranks=tuple(filter(named.__contains__, group.ranks))) for group in self.groups)
        return tuple(sorted((part for part in parts if part.ranks), key=lambda part: part.ranks))

    def _looping(self, group: Group) -> str:
        return f", {LOOPING}" * any(self.kinds.get(rank) == "looping" for rank in group.ranks)

    @property
    def brief(self) -> str:
        """Since when, and the group to look at, in one line."""
        from accel_launch.machine.clock import local_time

        first = line(self.groups[0], len(self.ranks))
        return f"standing still since {local_time(self.since)[11:]}: {self.blameless or first}"

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON, without the stacks, which are long."""
        return {
            "at": self.at,
            "since": self.since,
            "ranks": list(self.ranks),
            "odd": list(self.odd),
            "culprit": None if self.blameless or not self.groups else self.culprit,
            "mismatch": self.mismatch,
            "kinds": {str(rank): found for rank, found in self.kinds.items()},
            "groups": [group.as_json() for group in self.groups],
            "unasked": list(self.unasked),
            "unread": self.unread,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Stall:
        """Return what `as_json` described."""
        return cls(
            at=found["at"],
            since=found["since"],
            ranks=tuple(found["ranks"]),
            groups=tuple(map(Group.from_json, found["groups"])),
            kinds={int(rank): kind for rank, kind in found["kinds"].items()},
            odd=tuple(found["odd"]),
            unasked=tuple(found["unasked"]),
            unread=found["unread"],
        )

    def text(self, hint: str = "", later: str = "") -> str:
        """Return the message: at most 20 lines, the odd ones first, and ``later`` what follows if one may be slow."""
        from accel_launch.machine.clock import local_time

        head = f"accel: standing still for {duration(self.seconds)}, since {local_time(self.since)[11:]}"
        lines = [head + (f": {self.blameless}" if self.blameless not in {"", TOGETHER} else "")]
        more = self._more(later)
        room = LINES - 3 - len(more)  # the head, the ranks that are elsewhere, and the hint
        lines += [f"{line(group, len(self.ranks))}{self._looping(group)}" for group in self.groups[:room]]
        rest = [rank for group in self.groups[room:] for rank in group.ranks]
        lines += [f"and ranks {spans(rest, MOST_SPANS)} elsewhere"] if rest else []
        head, *below = [*lines, *more, *([hint] if hint else [])]
        lines = [head, *(f"  {each}" for each in below)]
        return "".join(f"{one_line(each)}\n" for each in lines)

    def _more(self, later: str) -> list[str]:
        """Return what there is to say beside where ranks are."""
        found = [SLOW.format(self.culprit)] if self.perhaps else []
        found += [later] if later else []
        if self.pacing:
            named = "rank" if len(self.pacing) == 1 else "ranks"
            found.append(PACED.format(named, spans(self.pacing, MOST_SPANS)))
        found += [f"not asked: {', '.join(self.unasked)}"] if self.unasked else []
        without = next((group for group in self.groups if group.unread), None)
        if self.unread:
            found.append(f"this may be wrong, as ranks run whose stacks can't be read: {self.unread}")
        elif without is not None:
            found.append(f"stacks can't be read{without.host and f' on {without.host}'}: {without.unread}")
        return found


def slow(verdict: Verdict, seconds: float) -> str:
    """Return the line about ranks that come back to the same lines, with other variables, while others wait."""
    ranks = [rank for rank, found in verdict.kinds.items() if found == "changing"]
    named = f"rank {ranks[0]} has" if len(ranks) == 1 else f"ranks {spans(ranks, MOST_SPANS)} have"
    where = verdict.places[ranks[0]].text
    return f"{named} computed at the same lines for {duration(seconds)}, and may only be slow: {one_line(where)}"


def paused(ranks: Sequence[int]) -> str:
    """Return the line about ranks that wait for somebody at a terminal."""
    named = f"{'rank' if len(ranks) == 1 else 'ranks'} {spans(ranks)}"
    return f"accel: {named} at a prompt or under a debugger: not counted as standing still\n"


def encode(kind: str, **values: Any) -> bytes:
    """Return a message of the watcher to the launcher: a line of JSON."""
    import json

    return json.dumps({"kind": kind, **values}).encode() + b"\n"
