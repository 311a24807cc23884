"""A file of tensors written one after the other, so that no two have to be in memory at once.

The library called safetensors writes a file from all of its tensors at once. The format is a length, a header in JSON
that says where each tensor lies, and the values: the header needs only their shapes.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO, Any

    from .shards import Entry

DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "complex64": "C64", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint64": "U64",
    "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
ALIGNED = 8
CHUNK = 1 << 24  # bytes written at once


def ordered(entries: Sequence[Entry]) -> list[Entry]:
    """Return ``entries`` in the order of the file: wide types first, so that every value is aligned."""
    return sorted(entries, key=lambda entry: (-entry.dtype.itemsize, entry.name))


def header(entries: Sequence[Entry]) -> bytes:
    """Return what stands in front of the values of ``entries``, which follow in this order.

    Raises:
        KeyError: the format knows no such type.
    """
    told: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for entry in entries:
        kind = DTYPES[str(entry.dtype).removeprefix("torch.")]
        told[entry.name] = {"dtype": kind, "shape": entry.shape, "data_offsets": [place, place + entry.size]}
        place += entry.size
    text = json.dumps(told, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNED)
    return len(text).to_bytes(8, "little") + text


def write(file: IO[bytes], tensor: Any) -> None:
    """Write a contiguous tensor's values, in the machine's order of bytes: little-endian wherever torch runs."""
    import ctypes

    # Seen through its address, since numpy, which could show it, need not be there.
    size = tensor.numel() * tensor.element_size()
    view = memoryview((ctypes.c_ubyte * size).from_address(tensor.data_ptr())) if size else memoryview(b"")
    for place in range(0, size, CHUNK):
        file.write(view[place : place + CHUNK])


def mapped(file: IO[bytes], entries: Sequence[Entry]) -> dict[str, Any]:
    """Return tensors whose values follow each other in ``file`` as views of it, each with a storage of its own.

    Their values are in memory only while somebody looks at them.
    """
    import mmap
    import warnings

    import torch

    found: dict[str, Any] = {}
    view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if any(entry.size for entry in entries) else b""
    place = 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        for entry in entries:
            count = entry.size // entry.dtype.itemsize
            flat = torch.frombuffer(view, dtype=entry.dtype, count=count, offset=place) if count else torch.empty(0)
            found[entry.name] = flat.to(entry.dtype).view(entry.shape)
            place += entry.size
    return found
