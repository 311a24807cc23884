"""A safetensors header read entry by entry: any layout that JSON allows, and any false statement."""

from __future__ import annotations

import json
import math
import re

from accel_estimate.errors import CorruptFileError
from accel_estimate.formats.dtypes import stored_bytes
from accel_estimate.formats.tensors import Listing, Tensor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Entry = tuple[str, list[int], int, int]  # type, shape, begin, end

_LARGEST = 2**63 - 1
_MAX_DIMENSIONS = 32
_MAX_ENTRY = 4096
_BACKSLASH, _QUOTE = ord("\\"), ord('"')

# Possessive quantifiers and no repeated groups: a hostile text must not cost time or memory for backtracking.
_OPEN = re.compile(rb'[ \t\r\n]*+"')
_COLON = re.compile(rb"[ \t\r\n]*+:[ \t\r\n]*+\{")
_MARKS = re.compile(rb'["}]|\\.', re.DOTALL)
_EMPTY = re.compile(rb"[ \t\r\n]*+\}")
_SEPARATOR = re.compile(rb"[ \t\r\n]*+([,}])")
_BLANK = re.compile(rb"[ \t\r\n]*+")
_SIZE = rb"(?:0|[1-9]\d{0,18})"
_USUAL = re.compile(
    rb'"dtype":"([A-Z0-9_]{1,16})","shape":\[((?:%b(?:,%b)*)?)\],"data_offsets":\[(%b),(%b)\]\}'.replace(b"%b", _SIZE)
)


def scanned(header: bytes, data: int, name: str) -> Listing:
    """Return the listing of a header of the file `name`, in front of `data` bytes of weights.

    Raises:
        CorruptFileError: see `safetensors.read`.

    """
    return Listing.of(_placed(_entries(header, name), data, name))


def _entries(header: bytes, name: str) -> dict[str, Entry]:
    start = _BLANK.match(header)
    at = start.end() if start else 0
    if header[at : at + 1] != b"{":
        raise CorruptFileError(f"{name}: the header isn't a JSON object")
    found: dict[str, Entry] = {}
    at += 1
    if empty := _EMPTY.match(header, at):
        return _ended(header, empty.end(), name, found)
    while True:
        key, at = _key(header, at, name)
        if key in found:
            raise CorruptFileError(f"{name}: names the tensor {key!r} twice")
        stop = _metadata_end(header, at) if key == "__metadata__" else header.find(b"}", at, at + _MAX_ENTRY) + 1
        if stop == 0:
            raise CorruptFileError(f"{name}: the entry of {key!r} isn't closed")
        if key != "__metadata__":
            found[key] = _entry(header[at:stop], key, name)
        separator = _SEPARATOR.match(header, stop)
        if separator is None:
            raise CorruptFileError(f"{name}: the header is broken after the entry of {key!r}")
        at = separator.end()
        if separator[1] == b"}":
            return _ended(header, at, name, found)


def _string_end(header: bytes, at: int) -> int:
    """Return the place of the quote that ends the string begun before `at`, -1 if there is none."""
    while True:
        quote = header.find(b'"', at)
        back = quote - 1
        while back >= at and header[back] == _BACKSLASH:
            back -= 1
        if quote < 0 or (quote - back) % 2:
            return quote
        at = quote + 1


def _metadata_end(header: bytes, at: int) -> int:
    """Return the place after the brace that ends the metadata, whose strings may hold braces; 0 if there is none."""
    inside = False
    for mark in _MARKS.finditer(header, at):
        if header[mark.start()] == _QUOTE:
            inside = not inside
        elif not inside and header[mark.start()] != _BACKSLASH:
            return mark.end()
    return 0


def _ended(header: bytes, at: int, name: str, found: dict[str, Entry]) -> dict[str, Entry]:
    blank = _BLANK.match(header, at)
    if blank is None or blank.end() != len(header):
        raise CorruptFileError(f"{name}: something follows the JSON of the header")
    return found


def _key(header: bytes, at: int, name: str) -> tuple[str, int]:
    opened = _OPEN.match(header, at)
    end = _string_end(header, opened.end()) if opened else -1
    colon = _COLON.match(header, end + 1) if end >= 0 else None
    if opened is None or colon is None:
        raise CorruptFileError(f"{name}: the header isn't a JSON object of tensor entries (at byte {8 + at:,})")
    raw = header[opened.end() : end]
    if len(raw) > _MAX_ENTRY:
        raise CorruptFileError(
            f"{name}: a tensor's name is {len(raw):,} bytes long, more than the {_MAX_ENTRY:,} that are accepted"
        )
    try:
        return (json.loads(b'"' + raw + b'"') if b"\\" in raw else raw.decode()), colon.end()
    except ValueError:
        raise CorruptFileError(f"{name}: a tensor's name isn't valid text (at byte {8 + at:,})") from None


def _entry(body: bytes, key: str, name: str) -> Entry:
    if usual := _USUAL.fullmatch(body):
        shape = [int(size) for size in usual[2].split(b",")] if usual[2] else []
        return usual[1].decode(), shape, int(usual[3]), int(usual[4])
    try:
        return _unusual(json.loads(b"{" + body, object_pairs_hook=_once))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CorruptFileError(f"{name}: the entry of {key!r} isn't a type, a shape and two offsets") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError
    return dict(pairs)


def _unusual(entry: dict[str, Any]) -> Entry:
    """Read an entry with another order of keys or other blanks than the library writes, but no other content."""
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or not isinstance(shape, list):
        raise TypeError
    sizes: list[int] = [*shape, begin, end]
    if any(type(size) is not int or not 0 <= size <= _LARGEST for size in sizes):
        raise ValueError
    return dtype, sizes[:-2], sizes[-2], sizes[-1]


def _placed(entries: dict[str, Entry], data: int, name: str) -> list[Tensor]:
    at = 0
    tensors: list[Tensor] = []
    for key, (dtype, shape, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if begin != at or end < begin:
            fault = "overlaps the tensor before it" if begin < at else "leaves a hole before it"
            raise CorruptFileError(f"{name}: the tensor {key!r} {fault if end >= begin else 'ends before it begins'}")
        if fault := _fault(dtype, tuple(shape), end - begin):
            raise CorruptFileError(f"{name}: the tensor {key!r} {fault}")
        tensors.append(Tensor(key, dtype, tuple(shape), end - begin))
        at = end
    if at != data:
        raise CorruptFileError(
            f"{name}: the header describes {at:,} bytes of weights, but the file holds {data:,}"
            f"{'; the download may be incomplete' if at > data else ''}"
        )
    return tensors


def _fault(dtype: str, shape: tuple[int, ...], nbytes: int) -> str:
    """Return what is wrong with a tensor that takes `nbytes`, "" if nothing is."""
    elements = math.prod(shape) if len(shape) <= _MAX_DIMENSIONS else _LARGEST + 1
    if elements > _LARGEST:
        return "has an impossible shape"
    needed = stored_bytes(dtype, shape)
    if needed in (None, nbytes):
        return ""
    return f"of type {dtype} and shape {list(shape)} needs {needed:,} bytes, but its offsets span {nbytes:,}"
