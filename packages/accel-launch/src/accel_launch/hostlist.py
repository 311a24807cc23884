"""The short form of a list of hosts: Slurm's ``gpu[01-03,7],login``, and Open MPI's ``gpu[2:1-3,7],login``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def expand(text: str) -> list[str]:
    """Return the hosts that ``text`` stands for, in its order. Several brackets in one name multiply."""
    return [name for entry in _entries(text) for name in _names(entry)]


def _entries(text: str) -> Iterator[str]:
    """Part the list at the commas outside brackets."""
    depth, start = 0, 0
    for place, letter in enumerate(text + ","):
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth <= 0:
            if entry := text[start:place].strip():
                yield entry
            start = place + 1


def _names(entry: str) -> Iterator[str]:
    before, opened, rest = entry.partition("[")
    if not opened:
        yield entry
        return
    inside, _, after = rest.partition("]")
    for number in _numbers(inside):
        for end in _names(after) if after else [""]:
            yield before + number + end


def _numbers(ranges: str) -> Iterator[str]:
    """Yield the numbers of ``01-03,7``, as wide as they are written; of ``2:1-3,7``, as wide as it says."""
    width, colon, rest = ranges.partition(":")
    if colon and width.isdecimal():
        yield from (number.zfill(int(width)) for number in _numbers(rest))
        return
    for part in ranges.split(","):
        first, _, last = part.strip().partition("-")
        if last.isdecimal() and first.isdecimal():
            yield from (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
        else:
            yield part.strip()
