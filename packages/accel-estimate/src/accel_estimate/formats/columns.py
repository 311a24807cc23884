"""A valid safetensors header, written exactly as the library writes it, read as a whole.

A model of a hundred thousand tensors has 12 MB of headers; reading them entry by entry takes a second. Here every
step is one of Python's own over all entries, or a step over a few kinds of them. A header that isn't to the letter
what the library writes for these names, types and shapes is left to `scan`, which reports what is wrong.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import accumulate, repeat

from accel_estimate.formats.dtypes import stored_bytes
from accel_estimate.formats.tensors import Listing, Tensor, starred

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# The text after a name, before a place, and before the next name: `"NAME":{"dtype":"F32","shape":[2],
# "data_offsets":[0,8]},"NAME":{...`; and the least length of an entry, which bounds their number.
_KIND, _PLACE, _NAME = '":{"dtype":"', '],"data_offsets":[', ']},"'
_SHORTEST = len(_KIND + 'U8","shape":[' + _PLACE + "0,0" + _NAME)
_START = re.compile(r'\{(?:"__metadata__":\{(?:"[^"]*+":"[^"]*+",?)*+\},)?+"')
_SIZE = "(?:0|[1-9][0-9]{0,18})"
_TYPE_AND_SHAPE = re.compile(rf'([A-Z0-9_]{{1,16}})","shape":\[((?:{_SIZE}(?:,{_SIZE}){{0,31}})?)')
_LONGEST = 1000  # characters of a name


def cut(header: bytes, data: int, again: Callable[[], bytes]) -> Listing | None:
    """Return the listing of a header in front of `data` bytes of weights, or None if `scan` must read it.

    The listing keeps the kinds and one hash for each tensor. `again` reads the header again, for a caller that wants
    the tensors one by one.
    """
    text = header.decode(errors="replace").rstrip(" ")
    start = _START.match(text)
    if start is None or not text.endswith("]}}") or "\\" in text or "\ufffd" in text:
        return None
    whole = text[start.end() : -3].split(_NAME, len(text) // _SHORTEST)
    entries, _, places = zip(*map(str.partition, whole, repeat(_PLACE)), strict=True)
    keys, counts = starred(entries)
    kinds = {key: kind for key in counts if (kind := _tensor(key)) is not None}
    if len(kinds) < len(counts) or not _are_named(entries, kinds.values()):
        return None
    sizes = {key: kind.nbytes for key, kind in kinds.items()}
    if ",".join(places) != _places(map(sizes.__getitem__, keys), data):
        return None
    counted = [kind.times(counts[key]) for key, kind in kinds.items()]
    return Listing(counted, lambda: _tensors(again()), list(map(hash, entries)))


def _are_named(entries: Sequence[str], kinds: Iterable[Tensor]) -> bool:
    """Return whether each entry has a name of its own: they differ, and not only in what follows the name."""
    names = [kind.name for kind in kinds]
    if len(set(names)) < len(names):
        entries = [entry.partition(_KIND)[0] for entry in entries]
    return len(set(entries)) == len(entries)


def _tensors(header: bytes) -> list[Tensor]:
    """Return the tensors of a header that was found to be valid, one by one."""
    entries = _START.sub("", header.decode(), count=1).split(_NAME)
    return [tensor for entry in entries if (tensor := _tensor(entry.partition(_PLACE)[0])) is not None]


def _tensor(entry: str) -> Tensor | None:
    name, _, kind = entry.partition(_KIND)
    form = _form(kind)
    named = '"' not in name and name != "__metadata__" and len(name) <= _LONGEST
    return Tensor(name, *form) if form and named else None


@lru_cache(maxsize=1024)
def _form(text: str) -> tuple[str, tuple[int, ...], int] | None:
    match = _TYPE_AND_SHAPE.fullmatch(text)
    shape = tuple(map(int, filter(None, match[2].split(",")))) if match else ()
    nbytes = stored_bytes(match[1], shape) if match else None
    return None if match is None or nbytes is None else (match[1], shape, nbytes)


def _places(sizes: Iterable[int], data: int) -> str:
    """Return the places of tensors of these sizes, each beginning where the one before it ends: "0,8,8,12"."""
    ends = list(map(str, accumulate(sizes)))
    numbers = ["0"] * (2 * len(ends))
    numbers[1::2], numbers[2::2] = ends, ends[:-1]
    return ",".join(numbers) if ends[-1] == str(data) else ""
