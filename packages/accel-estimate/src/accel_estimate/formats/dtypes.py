"""How many bits an element of each type takes, by the names that safetensors, torch and people use."""

from __future__ import annotations

from math import prod
from types import MappingProxyType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The names that safetensors headers use (safetensors/src/tensor.rs, enum Dtype).
STORED_BITS: Mapping[str, int] = MappingProxyType(
    {
        "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
        "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
        "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
    }
)  # fmt: skip


def stored_bytes(dtype: str, shape: Sequence[int]) -> int | None:
    """Return the bytes of a tensor in a file; None for a type that is newer than this table."""
    bits = STORED_BITS.get(dtype)
    return None if bits is None else -(-prod(shape) * bits // 8)


INTEGERS = frozenset({"BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64"})

# The names of a config.json ("torch_dtype", "dtype"), and `--param_dtype` and `--kv_dtype`.
TORCH_BYTES: Mapping[str, int] = MappingProxyType(
    {
        "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2,
        "float8": 1, "float8_e4m3fn": 1, "float8_e5m2": 1, "int8": 1, "uint8": 1,
    }
)  # fmt: skip

TORCH_TO_STORED: Mapping[str, str] = MappingProxyType(
    {
        "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
        "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "int8": "I8", "uint8": "U8",
    }
)  # fmt: skip
