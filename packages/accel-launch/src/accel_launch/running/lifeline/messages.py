"""What launchers may say to each other: the fields of each message, and the values that they may have.

A message comes from a network. Whatever isn't declared here is refused before anything acts on it.
"""

from __future__ import annotations

from math import isfinite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Check = Callable[[Any], bool]
    """Whether a field may have this value."""

LARGEST = 2**31 - 1  # machines, ranks, process ids
LATEST = 1e11  # seconds since the epoch: the year 5138
LONGEST_TEXT = 500  # characters
GROUP_TEXT, PLACE_TEXT = 200, 120  # characters of what a group does, and of the names of its place
MOST_GROUPS, MOST_SPANS, MOST_RANKS = 18, 128, 65536  # in a message; spans of a group, and ranks of all its groups
FACT, MOST_FACTS = 200, 512  # characters of a fact about a machine, or of its name; facts in a message
MOST_UNASKED = 5  # machines that a message names because they couldn't be asked
ABOUT = ("still", "stacks")
KINDS = {"", "computing", "ended", "looping", "moving", "pacing", "paused", "still", "stopped", "unread", "waiting"}
STATUS = 255  # the largest exit status


class Invalid(Exception):
    """A message that no launcher of ours sends."""


def whole(low: int, high: int) -> Check:
    """Accept whole numbers, and no booleans, which Python counts among them."""
    return lambda value: type(value) is int and low <= value <= high


def real(low: float, high: float) -> Check:
    """Accept finite numbers."""
    return lambda value: type(value) in (int, float) and low <= value <= high and isfinite(value)


def text(longest: int = LONGEST_TEXT) -> Check:
    """Accept texts that a terminal shows as they are: launchers clean what they send (`clean`)."""
    return lambda value: isinstance(value, str) and len(value) <= longest and value.isprintable()


def flag(value: Any) -> bool:
    """Accept true and false."""
    return type(value) is bool


def optional(check: Check) -> Check:
    """Accept null, or no such field, too."""
    return lambda value: value is None or check(value)


def _machines(value: Any) -> bool:
    number = whole(0, LARGEST)
    return isinstance(value, list) and all(map(number, value)) and value == sorted(set(value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _failure(value: Any) -> bool:
    return isinstance(value, dict) and valid(FAILURE, value)  # pyright: ignore[reportUnknownArgumentType]


def _items(value: Any, most: int) -> list[Any] | None:
    """Return a list of at most so many; None for anything else."""
    return value if isinstance(value, list) and len(value) <= most else None  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _spans(value: Any) -> bool:
    """Accept numbers as spans; `_groups` limits how many numbers these are."""
    number, spans = whole(0, LARGEST), _items(value, MOST_SPANS)
    pairs = [_items(span, 2) or [] for span in spans or []]
    return bool(pairs) and all(len(pair) == 2 and all(map(number, pair)) and pair[0] <= pair[1] for pair in pairs)  # noqa: PLR2004


def _groups(value: Any) -> bool:
    groups = _items(value, MOST_GROUPS)
    if groups is None or not all(isinstance(group, dict) and valid(GROUP, group) for group in groups):  # pyright: ignore[reportUnknownArgumentType]
        return False
    return sum(last - first + 1 for group in groups for first, last in group["ranks"]) <= MOST_RANKS


def _texts(longest: int, most: int) -> Check:
    one = text(longest)
    return lambda value: (found := _items(value, most)) is not None and all(map(one, found))


def _facts(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) > MOST_FACTS:  # pyright: ignore[reportUnknownArgumentType]
        return False
    one = text(FACT)
    return all(one(name) and one(fact) for name, fact in value.items())  # pyright: ignore[reportUnknownVariableType]


COUNT, TIME = whole(0, LARGEST), real(-LATEST, LATEST)
FAILURE: Mapping[str, Check] = {
    "machine": COUNT,
    "host": text(),
    "at": TIME,
    "status": whole(0, STATUS),
    "cause": text(),
    "rank": optional(whole(-1, LARGEST)),
    "local_rank": whole(-1, LARGEST),
    "pid": COUNT,
    "device": optional(text()),
    "exception": text(),
    "where": text(),
    "log": optional(text()),
}
GROUP: Mapping[str, Check] = {
    "ranks": _spans,
    "doing": text(GROUP_TEXT),
    "kind": lambda value: isinstance(value, str) and value in KINDS,
    "waits": flag,
    "file": text(PLACE_TEXT),
    "line": COUNT,
    "function": text(PLACE_TEXT),
    "operations": _texts(PLACE_TEXT, 2),
    "host": text(GROUP_TEXT),
    "local_rank": COUNT,
    "pid": COUNT,
    "unread": optional(text(GROUP_TEXT)),
    "reason": optional(text(GROUP_TEXT)),
}
PROOF: Mapping[str, Check] = {"run": text(64)}
FROM_MEMBER: Mapping[str, Mapping[str, Check]] = {
    "proof": PROOF,
    "hello": {
        "machine": COUNT,
        "machines": COUNT,
        "local": COUNT,
        "total": optional(COUNT),
        "backend": text(100),
        "host": text(),
        "token": text(64),
    },
    "beat": {"sent": TIME, "well": optional(flag), "again": optional(_failure)},
    "failed": {"failure": _failure},
    "over": {"failure": optional(_failure)},
    "still": {"seconds": optional(real(0, LATEST)), "seen": optional(flag)},
    "groups": {"number": COUNT, "groups": _groups},
    "portrait": {"facts": _facts},
}
FROM_HUB: Mapping[str, Mapping[str, Check]] = {
    "proof": PROOF,
    "welcome": {"host": text(), "missing": _machines},
    "beat": {"missing": optional(_machines)},
    "echo": {"sent": TIME, "time": TIME},
    "end": {"grace": real(0, LATEST), "lost": optional(flag)},
    "note": {"text": text()},
    "verdict": {"failure": _failure},
    "done": {},
    "start": {},
    "ask": {"number": COUNT, "about": lambda value: isinstance(value, str) and value in ABOUT},
    "stall": {
        "at": TIME,
        "since": TIME,
        "groups": _groups,
        "unasked": _texts(GROUP_TEXT, MOST_UNASKED),
        "culprit": text(GROUP_TEXT),
        "ends": flag,
    },
    "refused": {"why": text()},
}


def clean(given: str, longest: int = LONGEST_TEXT) -> str:
    """Return a text as a message may have it: short, and without what a terminal would act on."""
    return "".join(c if c.isprintable() else " " for c in given[:longest])


def valid(fields: Mapping[str, Check], data: Mapping[str, Any]) -> bool:
    """Return whether the data has these fields and no others."""
    return data.keys() <= fields.keys() and all(check(data.get(name)) for name, check in fields.items())


def kind_of(kinds: Mapping[str, Mapping[str, Check]], message: dict[str, Any]) -> str:
    """Return the kind of a message, whose fields are removed from the others.

    Raises:
        Invalid: it isn't one of ``kinds``, or a field has no valid value.
    """
    kind = message.pop("kind", None)
    if not isinstance(kind, str) or kind not in kinds or not valid(kinds[kind], message):
        raise Invalid
    return kind
