"""A file in the format of safetensors, written tensor by tensor, so that one tensor at a time is in memory.

The library called safetensors writes a file from all tensors at once. The format is a length, a header in JSON with
the place of each tensor, and the values. The header needs only the shapes.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO, Any

    from accel_cli.merging.shards import Entry

DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "complex64": "C64", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint64": "U64",
    "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
ALIGNED = 8
METADATA = "__metadata__"
"""The entry of a header that isn't a tensor."""
CHUNK = 1 << 24  # bytes of one write


def ordered(entries: Sequence[Entry]) -> list[Entry]:
    """Return ``entries`` in the order of the file: wide types first, so that every value is aligned."""
    return sorted(entries, key=lambda entry: (-entry.dtype.itemsize, entry.name))


def header(entries: Sequence[Entry]) -> bytes:
    """Return the header for the values of ``entries``, which follow it in this order.

    Raises:
        KeyError: the format doesn't have a type.
    """
    head: dict[str, Any] = {METADATA: {"format": "pt"}}
    place = 0
    for entry in entries:
        kind = DTYPES[str(entry.dtype).removeprefix("torch.")]
        head[entry.name] = {"dtype": kind, "shape": entry.shape, "data_offsets": [place, place + entry.size]}
        place += entry.size
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNED)
    return len(text).to_bytes(8, "little") + text


def write(file: IO[bytes], tensor: Any) -> None:
    """Write a contiguous tensor's values in the machine's byte order, which is little-endian wherever torch runs."""
    import ctypes

    # Read through its address, because numpy may not be installed.
    size = tensor.numel() * tensor.element_size()
    view = memoryview((ctypes.c_ubyte * size).from_address(tensor.data_ptr())) if size else memoryview(b"")
    for place in range(0, size, CHUNK):
        file.write(view[place : place + CHUNK])


def mapped(file: IO[bytes], entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the tensors whose values follow each other in ``file``, as views of it, each with its own storage.

    The kernel loads the values when they are read, and can drop them again.
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
