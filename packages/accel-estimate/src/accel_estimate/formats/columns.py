"""A safetensors header without fault, laid out as the library writes it, cut up as a whole.

A model of a hundred thousand tensors has 12 MB of headers, and to take them apart entry by entry costs a second. Here
every step is one of Python's own over all entries, and nothing is decided: what isn't to the letter what the library
writes for these names, types and shapes is left to `scan`, which says what is wrong.
"""

import re
from functools import lru_cache
from itertools import accumulate, repeat
from operator import itemgetter

from accel_estimate.dtypes import stored_bytes
from accel_estimate.tensors import Form, Listing

# What stands between the name, the type and shape, and the place: `"NAME":{"dtype":"F32","shape":[2],"data_offsets":
# [0,8]},"NAME":{...`, and how long an entry is at least, which bounds how many there can be.
_KIND, _PLACE, _NAME = '":{"dtype":"', '],"data_offsets":[', ']},"'
_SHORTEST = len(_KIND + 'U8","shape":[' + _PLACE + "0,0" + _NAME)
_START = re.compile(r'\{(?:"__metadata__":\{(?:"[^"]*+":"[^"]*+",?)*+\},)?+"')
_SIZE = "(?:0|[1-9][0-9]{0,18})"
_TYPE_AND_SHAPE = re.compile(rf'([A-Z0-9_]{{1,16}})","shape":\[((?:{_SIZE}(?:,{_SIZE}){{0,31}})?)')
_LONGEST_NAME = 1000


def cut(header: bytes, data: int) -> Listing | None:
    """Read a header before `data` bytes of weights; None when it is to be scanned instead."""
    text = header.decode(errors="replace").rstrip(" ")
    start = _START.match(text)
    if start is None or not text.endswith("]}}") or "\\" in text or "\ufffd" in text:
        return None
    first, *entries = (text[start.end() : -1] + ',"').split(_KIND, len(text) // _SHORTEST)
    if not entries:
        return None
    bodies, separators, following = zip(*map(str.partition, entries, repeat(_NAME)), strict=True)
    kinds, _, places = zip(*map(str.partition, bodies, repeat(_PLACE)), strict=True)
    known = {kind: _form(kind) for kind in set(kinds)}
    forms = [*filter(None, map(known.get, kinds))]
    names = [first, *following[:-1]]
    sound = separators.count(_NAME) == len(forms) == len(entries) and following[-1] == "" and _are_names(names)
    return Listing(names, forms) if sound and ",".join(places) == _places(forms, data) else None


def _are_names(names: list[str]) -> bool:
    different = set(names)
    named = len(different) == len(names) and "__metadata__" not in different and '"' not in "".join(names)
    return named and max(map(len, names)) <= _LONGEST_NAME


@lru_cache(maxsize=1024)
def _form(text: str) -> Form | None:
    match = _TYPE_AND_SHAPE.fullmatch(text)
    shape = tuple(map(int, filter(None, match[2].split(",")))) if match else ()
    nbytes = stored_bytes(match[1], shape) if match else None
    return None if match is None or nbytes is None else Form(match[1], shape, nbytes)


def _places(forms: list[Form], data: int) -> str:
    """Write where tensors of these forms are when each begins where the one before it ends: "0,8,8,12"."""
    ends = list(map(str, accumulate(map(itemgetter(2), forms))))
    numbers = ["0"] * (2 * len(ends))
    numbers[1::2], numbers[2::2] = ends, ends[:-1]
    return ",".join(numbers) if ends[-1] == str(data) else ""
