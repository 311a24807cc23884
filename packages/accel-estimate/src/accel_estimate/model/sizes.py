"""What a model takes when it is loaded in another type, and when it is trained with Adam: the table of sizes."""

from __future__ import annotations

from types import MappingProxyType

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from accel_estimate.model.weights import Weight

DTYPES = ("float32", "float16", "bfloat16", "float8", "int8", "int4")
_FULL = {"float32": 4, "float16": 2, "bfloat16": 2}

ADAM_BYTES = 16
"""Bytes of a parameter in training with Adam: an fp32 weight, its gradient and two moments, 4 each.

Mixed precision with fp32 weights needs the same. So does DeepSpeed's and Megatron's arithmetic, 2 + 2 + 4 + 8 (ZeRO
paper, section 3.1). Activations aren't included.
"""


class Quantization(Record):
    """A way to pack matrices: `bits` for a number, and `scale_bytes` for each `group` of numbers (0: each row)."""

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
        # NF4 with double quantization: 8 bits for 64, and fp32 for 64 * 256: 4.127 bits in all (same section).
        "nf4-dq": Quantization(4, 1 + 4 / 256, 64),
        # GPTQ: an fp16 scale and a 4-bit zero for 128 numbers: arXiv 2210.17323; 4.156 bits in all.
        "gptq4": Quantization(4, 2.5, 128),
    }
)
_ROW_QUANTIZATION = {"int4": "nf4"}


class Row(Record):
    """One row of the table of sizes, in bytes; `training_adam_bytes` is None for types that Adam can't train."""

    dtype: str
    total_bytes: int
    largest_layer_bytes: int
    training_adam_bytes: int | None


def packed_bytes(weight: Weight, how: Quantization) -> float:
    """Return the bytes of one matrix when it is packed."""
    group = how.group or (weight.shape[-1] if weight.shape else 4096)
    return weight.parameters * (how.bits / 8 + how.scale_bytes / max(group, 1))


def loaded_bytes(weights: Iterable[Weight], dtype: str) -> int:
    """Return the bytes of the weights when they are loaded in `dtype`, or packed in a way of `QUANTIZATIONS`.

    float32, float16 and bfloat16: parameters times 4 or 2. Others: matrices packed, with their scales, the rest in 16
    bits. int4 is nf4. Integer buffers keep their width.
    """
    total = 0.0
    for weight in weights:
        if weight.parameters == 0:
            total += weight.nbytes if weight.dtype == "I64" else 0
        elif dtype in _FULL:
            total += weight.parameters * _FULL[dtype]
        elif weight.linear:
            total += packed_bytes(weight, QUANTIZATIONS[_ROW_QUANTIZATION.get(dtype, dtype)])
        else:
            total += weight.parameters * 2
    return round(total)


def divided(sizes: Sequence[int], devices: int) -> int:
    """Return the bytes of the fullest device if groups stay whole and in their order, divided as evenly as can be.

    `device_map` divides them so.
    """
    least, most = max(sizes, default=0), sum(sizes)
    while least < most:
        tried = (least + most) // 2
        used, held = 1, 0
        for size in sizes:
            if held + size > tried:
                used, held = used + 1, 0
            held += size
        least, most = (least, tried) if used <= devices else (tried + 1, most)
    return least


def rows(weights: Sequence[Weight], grouped: Mapping[str, list[Weight]], dtypes: Iterable[str]) -> list[Row]:
    """Return the table of sizes, one row for each of `dtypes` in their order."""
    parameters = sum(weight.parameters for weight in weights)
    return [
        Row(dtype, loaded_bytes(weights, dtype),
            max((loaded_bytes(members, dtype) for members in grouped.values()), default=0),
            None if dtype in ("int8", "int4") else ADAM_BYTES * parameters)
        for dtype in dtypes
    ]  # fmt: skip
