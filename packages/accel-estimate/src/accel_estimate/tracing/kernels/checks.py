"""What the stand-ins check, and how they lay out what they are given."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

torch: Any = import_module("torch")

FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def need(condition: bool, otherwise: str) -> None:
    """Refuse what a kernel refuses.

    Raises:
        RuntimeError: the condition isn't met.

    """
    if not condition:
        raise RuntimeError(otherwise)


def along(tensor: Any, *dims: int) -> bool:
    """Return whether a tensor's numbers follow one another along one of the dimensions."""
    return any(tensor.stride(dim) == 1 or tensor.shape[dim] == 1 for dim in dims)


def straight(tensor: Any) -> Any:
    """Return a tensor whose last numbers follow one another, as it is or copied."""
    return tensor if tensor is None or tensor.stride(-1) == 1 else tensor.contiguous()
