"""Compact lists of hosts: Slurm's ``gpu[01-03,7],login`` and Open MPI's ``gpu[2:1-3,7],login``."""

from __future__ import annotations

from itertools import islice

from accel_config.errors import AccelError
from accel_config.settings.readers import natural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 100_000
"""The most hosts of a list, as of ``num_machines``: a longer one is broken, and would fill the memory."""
BRACKETS = 8  # in one name; each multiplies the hosts
CORRECT = "correct it, or ignore the scheduler: --no_scheduler"
LONGEST = 255  # digits of a number: no host name has more


def expand(text: str, variable: str, way_out: str = CORRECT) -> list[str]:
    """Return the hosts of a list in its order; none for an empty one. Several brackets in one name multiply.

    ``variable`` and ``way_out`` are for messages.

    Raises:
        AccelError: it isn't such a list, or has more than `MOST` hosts.
    """
    try:
        found = list(islice((name for entry in entries(text) for name in _names(entry)), MOST + 1))
    except ValueError as error:
        raise _refusal(text, variable, f"{error} isn't valid in a list of hosts; {way_out}") from None
    if len(found) > MOST:
        raise _refusal(text, variable, f"it has more than {MOST} hosts, which no cluster has; {way_out}")
    return found


def _refusal(text: str, variable: str, why: str) -> AccelError:
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    return AccelError(f"{variable} is {shown!r}, and {why}")


def entries(text: str) -> Iterator[str]:
    """Yield the parts between commas outside brackets.

    Raises:
        ValueError: a bracket isn't closed, or wasn't opened.
    """
    depth, start = 0, 0
    for place, letter in enumerate(text + ","):
        depth += (letter == "[") - (letter == "]")
        if depth not in (0, 1):
            raise ValueError(repr(text[start : place + 1][:LONGEST]))
        if letter == "," and not depth:
            if entry := text[start:place].strip():
                yield entry
            start = place + 1
    if depth:
        raise ValueError(repr(text[start:][:LONGEST]))


def _names(entry: str, left: int = BRACKETS) -> Iterator[str]:
    before, opened, rest = entry.partition("[")
    if not opened:
        yield entry
        return
    if not left:
        raise ValueError(repr(entry[:LONGEST]))
    inside, _, after = rest.partition("]")
    for number in _numbers(inside):
        for end in _names(after, left - 1) if after else [""]:
            yield before + number + end


def _numbers(ranges: str) -> Iterator[str]:
    """Yield the numbers of ``01-03,7`` with their leading zeros; ``2:1-3,7`` begins with the number of digits."""
    width, colon, rest = ranges.rpartition(":")
    digits = natural(width) if colon else 0
    if digits is None or digits > LONGEST:
        raise ValueError(repr(ranges[:LONGEST]))
    for part in rest.split(","):
        low, dash, high = part.strip().partition("-")
        first = natural(low)
        last = natural(high) if dash else first
        if first is None or last is None or first > last:
            raise ValueError(repr(f"[{part[:LONGEST]}]"))
        yield from (str(number).zfill(digits or len(low)) for number in range(first, last + 1))
