"""What an optimizer keeps for the parameters that it trains."""

from __future__ import annotations

from math import prod
from typing import Literal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

Optimizer = Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "adafactor", "sgd", "lion"]
OptimizerForm = Literal["foreach", "fused", "plain"]

EIGHT_BIT_SMALLEST = 4096
"""Tensors of fewer elements keep fp32 states in bitsandbytes (`min_8bit_size` of its optimizers)."""

EIGHT_BIT_BLOCK = 256
"""8-bit numbers for each fp32 maximum (bitsandbytes, `blocksize = 256` of the 8-bit optimizers)."""


def state_bytes(shapes: Mapping[tuple[int, ...], int], optimizer: Optimizer, width: int) -> float:
    """Return the bytes of the optimizer's states; `shapes` has the number of tensors of each shape.

    torch's AdamW (two moments) and Lion (one) keep them in the parameter's own type of `width` bytes. adamw_8bit: two
    bytes, and a maximum a block for each. adafactor, without momentum: an fp32 number for every row and every column
    of a matrix, and for every element of a vector (arXiv 1804.04235, section 3). SGD without momentum: nothing. Paged
    states are in managed memory, which the driver moves to the CPU, so the device need not have it.
    """
    if optimizer in _BYTES:
        return _BYTES[optimizer] * width * sum(prod(shape) * count for shape, count in shapes.items())
    one = _eight_bit if optimizer == "adamw_8bit" else _adafactor
    return sum(one(shape) * count for shape, count in shapes.items())


_BYTES: dict[str, int] = {"adamw": 2, "lion": 1, "sgd": 0, "paged_adamw": 0, "paged_adamw_8bit": 0}
_FP32 = 4


def step_bytes(optimizer: Optimizer, form: OptimizerForm, width: int, whole: float, largest: float) -> float:
    """Return the bytes that only the step itself needs; `whole` and `largest` are numbers: of all tensors, of one.

    torch's foreach AdamW makes a root of all second moments at once, its plain form a root and a quotient of one
    tensor after the other; fused kernels, and SGD, step in place. Lion makes an update of one tensor. Adafactor makes
    fp32 squares and an update of one tensor, and an fp32 gradient of a narrow one.
    """
    if optimizer == "adamw":
        return {"foreach": width * whole, "fused": 0.0, "plain": 2 * width * largest}[form]
    if optimizer == "lion":
        return width * largest
    if optimizer == "adafactor":
        return (8 if width == _FP32 else 12) * largest
    return 0.0


def _eight_bit(shape: tuple[int, ...]) -> float:
    elements = prod(shape)
    return 8 * elements if elements < EIGHT_BIT_SMALLEST else elements * (2 + 8 / EIGHT_BIT_BLOCK)


def _adafactor(shape: tuple[int, ...]) -> float:
    if len(shape) == 1:
        return 4 * prod(shape)
    return 4 * prod(shape[:-2]) * (shape[-2] + shape[-1])
