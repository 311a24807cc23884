"""A run that ended because ranks waited too long for another one: who waited, for whom, and where that one is."""

from __future__ import annotations

import os

from accel_config.record import Record
from accel_launch.inspecting.groups import spans
from accel_launch.running.report.evidence import timeouts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_launch.inspecting.groups import Group
    from accel_launch.running.report.evidence.recorder import Collective


class Timeout(Record):
    """A wait for other ranks that was too long, and ended the run."""

    rank: int
    """The rank that waited, and failed first."""
    operation: str
    """What it waited in, such as ``all_reduce``, or in torch's own word, ``ALLREDUCE``."""
    seconds: float
    """How long it waited; 0 if that isn't known."""
    at: float = 0.0
    """When it gave up, in seconds since the epoch."""
    missing: tuple[int, ...] = ()
    """The ranks that it waited for; none if that isn't known."""
    doing: str = ""
    """Where the first of them was then, in words; empty if unknown."""
    source: str = ""
    """What says who is missing: ``message``, ``flight recorder``, ``watchdog``, ``stacks``, ``silence`` or
    ``ending``; empty if nothing does."""
    groups: tuple[Group, ...] = ()
    """What each rank of this machine did then."""
    where: str = ""
    """``FILE:LINE`` in the user's code where it waited; empty if unknown."""
    collectives: tuple[Collective, ...] = ()
    """The last collective of each rank in each group, if torch's flight recorder has left them; else, without their
    numbers, those that ranks were seen waiting in."""

    @property
    def cause(self) -> str:
        """Why the run failed, in words; for the missing rank if it is ``here``."""
        after = f" after {self.seconds:g} s" if self.seconds else ""
        waited = f"timed out{after} waiting for it ({self._waited})"
        if self.operation == timeouts.CLOSED:
            waited = f"lost its connection to it{self._at}"
        also = f", with {_ranks(self.missing[1:])}" if len(self.missing) > 1 else ""
        where = f"; it {'had' if self.doing.startswith('ended') else 'was at'} {self.doing}" if self.doing else ""
        return f"missing{also}: rank {self.rank} {waited}{where}"

    @property
    def elsewhere(self) -> str:
        """The same for the rank that waited, where the missing one is on another machine."""
        after = f" after {self.seconds:g} s" if self.seconds else ""
        return f"timed out{after} waiting for {_ranks(self.missing)} ({self._waited})"

    @property
    def _waited(self) -> str:
        return f"{self.operation}{self._at}"

    @property
    def _at(self) -> str:
        return f" at {os.path.basename(self.where)}" if self.where else ""

    @property
    def lines(self) -> list[str]:
        """The last collectives that torch has recorded, one line for ranks with the same one."""
        same: dict[str, list[int]] = {}
        for one in filter(lambda each: each.number, self.collectives):
            place = f", {os.path.basename(one.where)}" if one.where else ""
            done = "done" if one.done else "not done"
            same.setdefault(f"{one.operation} number {one.number} of {one.group}{place}, {done}", []).append(one.rank)
        return [f"last collective of {_ranks(ranks)}: {text}" for text, ranks in same.items()]

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "rank": self.rank,
            "operation": self.operation,
            "where": self.where or None,
            "seconds": self.seconds or None,
            "at": self.at,
            "missing": list(self.missing),
            "doing": self.doing or None,
            "source": self.source or None,
            "groups": [group.as_json() for group in self.groups],
            "collectives": [_collective(one) for one in self.collectives],
        }


def _collective(one: Collective) -> dict[str, Any]:
    return {**dict(one), **{name: getattr(one, name) or None for name in ("group", "number", "where", "at")}}


def _ranks(ranks: tuple[int, ...] | list[int]) -> str:
    return f"{'rank' if len(ranks) == 1 else 'ranks'} {spans(ranks)}"
