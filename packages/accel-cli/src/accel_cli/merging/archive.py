"""A tensor in a shard: an archive of `torch.save`, read without `torch.load`.

`torch.load(weights_only=True)` still reserves what memory a file asks for, and before torch 2.10 a forged file could
write outside of its memory. A shard's archive always has the same form: one storage, and how the tensor lies in it.
"""

from __future__ import annotations

import io
import struct
import zipfile
from math import prod

from accel_cli.merging import inert

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

    from accel_cli.merging.metadata import Place

_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}  # fmt: skip
_ALLOWED = {
    ("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor_v3"),
    ("torch.storage", "UntypedStorage"),
}  # fmt: skip
_MOST = 2**20
"""The most bytes read at once of an archive apart from its values: its parts are described in a few hundred."""
_LOCAL = struct.Struct("<26xHH")  # the lengths of the name and the extra field, which a local header ends with
_DTYPE = 6
"""The place of the type among the arguments of `_rebuild_tensor_v3`, and of further properties in those of `v2`."""


def read(file: IO[bytes], place: Place, dtype: str, shape: tuple[int, ...]) -> Any:
    """Return the tensor at a place, which must be of this type and shape. It takes the memory of its values alone.

    Raises:
        ValueError, Exception: there is something else.
    """
    import torch

    with zipfile.ZipFile(_Part(file, place)) as archive:  # pyright: ignore[reportArgumentType]
        entries = {info.filename: info for info in archive.infolist()}
    (root,) = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
    order = entries.get(f"{root}byteorder")
    if order and bytes(_content(file, place, order, _MOST)) != b"little":
        raise ValueError("its values are in the byte order of another machine")
    value = inert.load(bytes(_content(file, place, entries[f"{root}data.pkl"], _MOST)), _is_allowed)
    key, kind, offset, size, stride = _layout(value)
    if (kind, size) != (dtype, shape):
        raise ValueError(f"a shard has values of {kind} and shape {size}, not {dtype} and {shape}")
    values = _content(file, place, entries[f"{root}data/{key}"], place.length)
    if len(values) < prod(shape) * getattr(torch, dtype).itemsize:
        raise ValueError("a shard has fewer values than its tensor")
    kept = getattr(torch, dtype)
    flat = torch.frombuffer(values, dtype=kept) if values else torch.empty(0, dtype=kept)
    return flat.as_strided(size, stride, offset)  # which refuses what lies outside of the values


def _is_allowed(module: str, name: str) -> bool:
    return (
        (module == "torch" and name in _STORAGES) or (module, name) in _ALLOWED or inert.is_torch_type(module, name)
    )


def _layout(value: Any) -> tuple[str, str, int, tuple[int, ...], tuple[int, ...]]:
    """Return a tensor's key among the storages, its type, and its offset, shape and strides there."""
    kind = value.name if isinstance(value, inert.Named) and type(value) is not inert.Stored else type(value).__name__
    if kind not in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"):
        raise ValueError(f"a shard holds a {kind}, not a plain tensor")
    given: Any = value.arguments
    stored, offset, size, stride = given[:4]
    _mark, storage, key = stored.arguments[0][:3]
    rest = given[_DTYPE:]
    dtype = _STORAGES.get(storage.name.rpartition(".")[2], "")
    if kind.endswith("v3"):
        dtype, rest = rest[0].name.removeprefix("torch."), rest[1:]
    if any(rest):
        raise ValueError("a shard holds a conjugated or negated tensor, which isn't supported")
    numbers = [offset, *size, *stride]
    if type(key) is not str or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError("a shard holds a malformed tensor")
    return key, dtype, offset, tuple(size), tuple(stride)


def _content(file: IO[bytes], place: Place, info: zipfile.ZipInfo, most: int) -> bytearray:
    """Return an entry of the archive, which must be stored as it is. Its checksum isn't: torch can leave it out."""
    if info.compress_type or info.file_size > min(most, place.length - info.header_offset):
        raise ValueError("a shard isn't an archive of one tensor")
    file.seek(place.start + info.header_offset)
    name, extra = _LOCAL.unpack(file.read(_LOCAL.size))
    file.seek(name + extra, io.SEEK_CUR)
    content = bytearray(info.file_size)
    if file.readinto(content) != len(content):  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        raise ValueError("a shard ends inside its values")
    return content


class _Part(io.RawIOBase):
    """The bytes of a place as a file of their own, for an archive's directory; of large pieces nothing is read."""

    def __init__(self, file: IO[bytes], place: Place) -> None:
        super().__init__()
        self._file, self._start, self._length, self._at = file, place.start, place.length, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise OSError("before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        left = max(self._length - self._at, 0)
        size = left if size < 0 else min(size, left)
        if size > _MOST:
            raise ValueError("a shard isn't an archive of one tensor")
        self._file.seek(self._start + self._at)
        found = self._file.read(size)
        self._at += len(found)
        return found
