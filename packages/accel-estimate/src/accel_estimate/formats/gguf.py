"""The GGUF header: keys and values, then every tensor's name, shape, type and place.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Values that can be long (the tokenizer's) are
skipped.
"""

from __future__ import annotations

import math
import struct
from types import MappingProxyType

from accel_config.record import Record
from accel_estimate.errors import CorruptFileError
from accel_estimate.formats.tensors import Tensor
from accel_estimate.sources.source import Cursor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_estimate.sources.source import Source

    Value = str | int | float | bool | list[int | float | bool] | None
    Info = tuple[int, str, int, tuple[int, ...]]  # offset, name, type, shape

MAX_HEADER = 50_000_000
_MAX_COUNT = 1_000_000
_MAX_STRING = 65_535
_MAX_DIMENSIONS = 4
_MAX_KEPT = 65_536  # numbers in all arrays together; the arrays that are used have one number a layer
_SHORTEST = 24  # magic, version and two counts
_LARGEST = 2**63 - 1

# ggml type id -> (name, elements in a block, bytes of a block): ggml/src/ggml-common.h and gguf-py constants.py.
TYPES: Mapping[int, tuple[str, int, int]] = MappingProxyType(
    {
        0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
        7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
        12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
        16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
        20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
        24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
        29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
        39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
    }
)  # fmt: skip

# Value type id -> struct code; 8 is a string and 9 an array.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


class Header(Record):
    """A GGUF file's header: short values by key, and its tensors."""

    values: Mapping[str, Value]
    tensors: tuple[Tensor, ...]


def read(source: Source) -> Header:
    """Return one GGUF file's header.

    Shapes are in torch's order: the outermost dimension first (the file has it last).

    Raises:
        CorruptFileError: the magic or version is wrong, counts, lengths, types or offsets are impossible, or the file
            ends before its header or its tensors do.

    """
    return _Reader(source).header()


class _Reader:
    def __init__(self, source: Source) -> None:
        self.name = source.name
        self.size = source.size
        self.cursor = Cursor(source, MAX_HEADER)
        self.kept = 0

    def header(self) -> Header:
        if self.size < _SHORTEST or self._bytes(4) != b"GGUF":
            raise CorruptFileError(f"{self.name}: doesn't begin like a GGUF file")
        version = self._number("I")
        if version not in (2, 3):
            raise CorruptFileError(
                f"{self.name}: GGUF version {version} (or a big-endian file) isn't supported; versions 2 and 3 are"
            )
        tensors, pairs = self._count("tensors"), self._count("keys")
        values: dict[str, Value] = {}
        for _ in range(pairs):
            key = self._string()
            if key in values:
                raise CorruptFileError(f"{self.name}: has the key {key!r} twice")
            values[key] = self._value(self._number("I"), key)
        infos = [self._info() for _ in range(tensors)]
        return Header(values, self._placed(infos, values.get("general.alignment", 32)))

    def _bytes(self, count: int) -> bytes:
        start = self.cursor.take(count)
        return self.cursor.buffer[start : start + count]

    def _number(self, code: str) -> int:
        start = self.cursor.take(struct.calcsize("<" + code))
        return struct.unpack_from("<" + code, self.cursor.buffer, start)[0]

    def _count(self, what: str) -> int:
        count = self._number("Q")
        if count > _MAX_COUNT:
            raise CorruptFileError(
                f"{self.name}: claims {count:,} {what}, more than the {_MAX_COUNT:,} that are accepted"
            )
        return count

    def _string(self) -> str:
        length = self._number("Q")
        if length > _MAX_STRING:
            raise CorruptFileError(
                f"{self.name}: a name of {length:,} bytes, more than the {_MAX_STRING:,} that are accepted"
            )
        try:
            return self._bytes(length).decode()
        except UnicodeDecodeError:
            raise CorruptFileError(f"{self.name}: a name isn't valid text") from None

    def _value(self, kind: int, key: str) -> Value:
        if kind in _SCALARS:
            return self._number(_SCALARS[kind])
        if kind == _STRING:
            return self._text()
        if kind == _ARRAY:
            return self._array(self._number("I"), key)
        raise CorruptFileError(f"{self.name}: the key {key!r} has a value of unknown type {kind}")

    def _text(self) -> str | None:
        """Read a string value; a long one (a chat template) is skipped."""
        length = self._number("Q")
        start = self.cursor.take(length)
        if length > _MAX_STRING:
            return None
        return self.cursor.buffer[start : start + length].decode(errors="replace")

    def _array(self, kind: int, key: str) -> list[int | float | bool] | None:
        count = self._number("Q")
        if kind in _SCALARS:
            code = _SCALARS[kind]
            start = self.cursor.take(count * struct.calcsize("<" + code))
            if self.kept + count > _MAX_KEPT:
                return None
            self.kept += count
            return list(struct.unpack_from(f"<{count}{code}", self.cursor.buffer, start))
        if kind == _STRING:
            return self._skip_strings(count)
        raise CorruptFileError(f"{self.name}: the key {key!r} is an array of unknown type {kind}")

    def _skip_strings(self, count: int) -> None:
        """Skip `count` strings. Each takes at least 8 bytes, so a false count reaches the end of the file."""
        cursor, length = self.cursor, struct.Struct("<Q").unpack_from
        if count * 8 > self.size:
            raise CorruptFileError(f"{self.name}: claims an array of {count:,} strings, more than the file can hold")
        for _ in range(count):
            start = cursor.take(8)
            cursor.take(length(cursor.buffer, start)[0])

    def _info(self) -> Info:
        name = self._string()
        dimensions = self._number("I")
        if dimensions > _MAX_DIMENSIONS:
            raise CorruptFileError(
                f"{self.name}: the tensor {name!r} has {dimensions} dimensions, more than {_MAX_DIMENSIONS}"
            )
        shape = tuple(reversed([self._number("Q") for _ in range(dimensions)]))
        kind, offset = self._number("I"), self._number("Q")
        return offset, name, kind, shape

    def _placed(self, infos: list[Info], alignment: object) -> tuple[Tensor, ...]:
        if type(alignment) is not int or not 1 <= alignment <= 2**20:
            raise CorruptFileError(f"{self.name}: an alignment of {alignment!r} isn't possible")
        if len({name for _, name, _, _ in infos}) < len(infos):
            raise CorruptFileError(f"{self.name}: names a tensor twice")
        start = -(-self.cursor.at // alignment) * alignment
        at, tensors = 0, list[Tensor]()
        for offset, name, kind, shape in sorted(infos):
            tensor = self._tensor(name, kind, shape)
            if offset < at or offset % alignment:
                raise CorruptFileError(f"{self.name}: the tensor {name!r} overlaps another or isn't aligned")
            at = offset + tensor.nbytes
            tensors.append(tensor)
        if infos and start + at > self.size:
            raise CorruptFileError(
                f"{self.name}: the header describes {start + at:,} bytes, but the file has "
                f"{self.size:,}; the download may be incomplete"
            )
        return tuple(tensors)

    def _tensor(self, name: str, kind: int, shape: tuple[int, ...]) -> Tensor:
        if kind not in TYPES:
            raise CorruptFileError(f"{self.name}: the tensor {name!r} has the unknown type {kind}")
        dtype, block, nbytes = TYPES[kind]
        elements = math.prod(shape)
        if elements > _LARGEST or (shape and shape[-1] % block):
            raise CorruptFileError(
                f"{self.name}: the tensor {name!r} of type {dtype} has the impossible shape {shape}"
            )
        return Tensor(name, dtype, shape, elements // block * nbytes)
