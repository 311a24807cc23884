"""What a model takes when it is loaded in another type, and when it is trained with Adam: the known table."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from accel_estimate.weights import Weight

DTYPES = ("float32", "float16", "bfloat16", "float8", "int8", "int4")
_FULL = {"float32": 4, "float16": 2, "bfloat16": 2}

ADAM_BYTES = 16
"""Bytes that a parameter takes in training with Adam: an fp32 weight, its gradient and two moments, 4 each.

Mixed precision with fp32 weights needs the same; DeepSpeed's and Megatron's arithmetic is 2 + 2 + 4 + 8, the same
again (ZeRO paper, section 3.1). Activations are not in it.
"""


class Quantization(NamedTuple):
    """A way to pack matrices: `bits` a number, and `scale_bytes` for every `group` of them (0: every row)."""

    bits: float
    scale_bytes: float
    group: int


# Only matrices inside blocks are packed; the rest stays in 16 bits (bitsandbytes and GPTQ leave out embeddings,
# norms and the head).
QUANTIZATIONS: Mapping[str, Quantization] = MappingProxyType(
    {
        # One fp32 scale a tensor (transformer-engine, torchao).
        "float8": Quantization(8, 0, 1),
        # LLM.int8(): one fp32 scale (SCB) a row of the matrix: arXiv 2208.07339, bitsandbytes Linear8bitLt.
        "int8": Quantization(8, 4, 0),
        # NF4: one fp32 scale for 64 numbers: arXiv 2305.14314, section 3; 4.5 bits in all.
        "nf4": Quantization(4, 4, 64),
        # NF4 with double quantisation: 8 bits for 64, and fp32 for 64 * 256: 4.127 bits in all (same section).
        "nf4-dq": Quantization(4, 1 + 4 / 256, 64),
        # GPTQ: an fp16 scale and a 4-bit zero for 128 numbers: arXiv 2210.17323; 4.156 bits in all.
        "gptq4": Quantization(4, 2.5, 128),
    }
)
_ROW_QUANTIZATION = {"float8": "float8", "int8": "int8", "int4": "nf4"}


class Row(NamedTuple):
    """One row of the known table, in bytes; `training_adam_bytes` is None for types that Adam cannot train."""

    dtype: str
    total_bytes: int
    largest_layer_bytes: int
    training_adam_bytes: int | None


def packed_bytes(weight: Weight, how: Quantization) -> float:
    """Give the bytes of one matrix when it is packed."""
    group = how.group or (weight.shape[-1] if weight.shape else 4096)
    return weight.parameters * (how.bits / 8 + how.scale_bytes / max(group, 1))


def loaded_bytes(weights: Iterable[Weight], dtype: str) -> int:
    """Give what the weights take when they are loaded in `dtype`.

    float32, float16 and bfloat16: parameters times 4 or 2. float8, int8 and int4: matrices packed, with their scales,
    the rest in 16 bits. Integer buffers keep their width.
    """
    total = 0.0
    for weight in weights:
        if weight.parameters == 0:
            total += weight.nbytes if weight.dtype == "I64" else 0
        elif dtype in _FULL:
            total += weight.parameters * _FULL[dtype]
        elif weight.linear:
            total += packed_bytes(weight, QUANTIZATIONS[_ROW_QUANTIZATION[dtype]])
        else:
            total += weight.parameters * 2
    return round(total)


def rows(weights: Sequence[Weight], grouped: Mapping[str, list[Weight]], dtypes: Iterable[str]) -> list[Row]:
    """Work out the table, one row for each of `dtypes` in their order."""
    parameters = sum(weight.parameters for weight in weights)
    return [
        Row(dtype, loaded_bytes(weights, dtype),
            max((loaded_bytes(members, dtype) for members in grouped.values()), default=0),
            None if dtype in ("int8", "int4") else ADAM_BYTES * parameters)
        for dtype in dtypes
    ]  # fmt: skip
