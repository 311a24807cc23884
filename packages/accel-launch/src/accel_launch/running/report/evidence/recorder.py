"""The files of torch's flight recorder: which collectives each rank has begun, by group and number.

A file is a pickle of lists, dictionaries and plain values. Nothing else is taken from one, and none of another user.
"""

from __future__ import annotations

import os
import pickle
import stat
from typing import cast

from accel_config.record import Record
from accel_launch.inspecting.places import library
from accel_launch.inspecting.threads import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

LARGEST = 1 << 26  # bytes of a file; 2000 collectives with their stacks take 2 MB
LONGEST, DIGITS = 300, 18  # characters of a text, digits of a number


class Collective(Record):
    """The last collective that a rank has begun in a group."""

    rank: int
    group: str
    """The group's description, else its name; empty if unknown."""
    number: int
    """Its number among the group's collectives; 0 if torch hasn't recorded it."""
    operation: str
    done: bool
    where: str = ""
    """``FILE:LINE`` in the user's code; empty if unknown."""
    at: float = 0.0
    """When it was begun, in seconds since the epoch; 0 if unknown."""


class _Plain(pickle.Unpickler):
    """Takes no class and no function."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        raise pickle.UnpicklingError(f"{module_name}.{global_name} isn't plain data")


def read(prefix: str, ranks: Iterable[int], since: float) -> dict[int, Mapping[str, Any]]:
    """Return what each rank has left in a file of this ``prefix`` since then."""
    found: dict[int, Mapping[str, Any]] = {}
    for rank in ranks:
        try:
            fd = os.open(f"{prefix}{rank}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                facts = os.fstat(fd)
                own = stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid()
                if not own or facts.st_size > LARGEST or facts.st_mtime + 1 < since:
                    continue
                content = _Plain(file).load()
        except Exception:  # noqa: S112 - a rank that was killed may leave anything, and a pickle may raise anything
            continue
        if isinstance(content, dict):
            found[rank] = content
    return found


def last(dumps: Mapping[int, Mapping[str, Any]]) -> tuple[Collective, ...]:
    """Return the last collective of each rank in each group."""
    found: dict[tuple[int, str], Collective] = {}
    for rank, dump in dumps.items():
        for one in _collectives(rank, dump):
            before = found.get((rank, one.group))
            if before is None or one.number >= before.number:
                found[rank, one.group] = one
    return tuple(found.values())


def waited(dumps: Mapping[int, Mapping[str, Any]]) -> Collective | None:
    """Return the collective that wasn't done and was begun first: the one that all others wait for in the end."""
    pending = (one for rank, dump in dumps.items() for one in _collectives(rank, dump) if not one.done)
    return min(pending, key=lambda one: one.at, default=None)


def members(dumps: Mapping[int, Mapping[str, Any]], group: str) -> frozenset[int]:
    """Return the ranks of a group, as far as the ranks that know it say."""
    found: set[int] = set()
    for dump in dumps.values():
        for each in map(_mapping, _mapping(dump.get("pg_config")).values()):
            if group in (each.get("desc"), each.get("name")):
                listed = each.get("ranks")
                words = [word.strip() for word in listed.strip("[]").split(",")] if isinstance(listed, str) else []
                found.update(int(word) for word in words if word.isdecimal() and len(word) <= DIGITS)
    return frozenset(found)


def missing(dumps: Mapping[int, Mapping[str, Any]]) -> tuple[int, ...]:
    """Return the ranks that didn't come to the collective that was waited for; those in another one at its place."""
    stuck = waited(dumps)
    if stuck is None:
        return ()
    latest = {one.rank: one for one in last(dumps) if one.group == stuck.group}
    behind = {rank for rank, one in latest.items() if one.number < stuck.number}
    behind |= (members(dumps, stuck.group) & dumps.keys()) - latest.keys()
    if behind:
        pending = {one.rank for one in last(dumps) if not one.done}
        return tuple(sorted(behind - pending or behind))  # one that waits in another group waits for somebody else
    absent = members(dumps, stuck.group) - dumps.keys()
    if absent:
        return tuple(sorted(absent))
    there = [each for rank, dump in dumps.items() for each in _collectives(rank, dump)]
    named: dict[str, list[int]] = {}
    for one in there:
        if (one.group, one.number) == (stuck.group, stuck.number):
            named.setdefault(one.operation, []).append(one.rank)
    fewest = min(named.values(), key=len)
    return tuple(sorted(fewest)) if len(named) > 1 else ()


def _mapping(found: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else {}


def _collectives(rank: int, dump: Mapping[str, Any]) -> Iterable[Collective]:
    entries = dump.get("entries")
    for entry in map(_mapping, cast("list[Any]", entries) if isinstance(entries, list) else ()):
        try:
            if not entry.get("is_p2p"):
                yield _collective(rank, entry)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            continue  # of a version that writes something else


def _collective(rank: int, entry: Mapping[str, Any]) -> Collective:
    name, description = entry["process_group"]
    return Collective(
        rank=rank,
        group=_text(name if description in ("", "undefined", None) else description),
        number=_number(entry["collective_seq_id"]),
        operation=_text(entry["profiling_name"]).rpartition(":")[2],
        done=entry.get("state") == "completed" or bool(entry.get("retired")),
        where=_where(entry.get("frames") or ()),
        at=_number(entry.get("time_created_ns") or 0) / 1e9,
    )


def _text(found: object) -> str:
    """Return a text, of which nothing can control a terminal; nested data could be too large for one."""
    if not isinstance(found, str):
        raise TypeError
    return "".join(letter if letter.isprintable() else "?" for letter in found[:LONGEST])


def _number(found: object) -> int:
    if not isinstance(found, int) or abs(found) >= 10**DIGITS * 10:
        raise TypeError
    return found


def _where(frames: Iterable[Mapping[str, Any]]) -> str:
    """Return the user's own innermost line."""
    for each in frames:
        frame = Frame(_text(each["name"]), _text(each["filename"]), _number(each["line"]))
        if not library(frame):
            return f"{frame.file}:{frame.line}"
    return ""
