"""What a script reads from tensors without data: known whole numbers as they are, other numbers as 1."""

from __future__ import annotations

import operator
from importlib import import_module

from accel_estimate.tracing.script.memory import SKIP, FakeTensor, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from accel_estimate.tracing.script.memory import Memory

torch: Any = import_module("torch")


def plain(memory: Memory, tensor: Any) -> Any:
    """Return a tensor of the host with data: what is known, else ones."""
    known = getattr(tensor, "_accel_known", None)
    if known is not None:
        return known
    truth = getattr(tensor, "_accel_truth", None)
    if truth is None and not tensor.is_floating_point():
        memory.lines.guessed()
    with torch._C.DisableTorchFunction(), torch.utils._python_dispatch._disable_current_modes():
        return torch.full(tuple(tensor.shape), 1 if truth is None else truth, dtype=tensor.dtype)


def _truth(memory: Memory, tensor: Any) -> bool:
    known = getattr(tensor, "_accel_known", None)
    if known is not None:
        return bool(known)
    truth = getattr(tensor, "_accel_truth", None)
    if truth is not None:
        return truth
    if tensor.numel() != 1:
        raise UnsupportedError(f"decides by the values of a tensor, which tensors without data don't have; {SKIP}")
    memory.lines.decided()
    return bool(getattr(tensor, "_accel_ones", True))


def _contains(memory: Memory, tensor: Any, _element: Any) -> bool:
    return _truth(memory, tensor)


def _text(_memory: Memory, tensor: Any, **_named: Any) -> str:
    return f"tensor(..., size={tuple(tensor.shape)}, dtype={tensor.dtype})"


def _read(read: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return what reads the numbers of a tensor from one of the host."""

    def asked(memory: Memory, tensor: Any, *_args: Any, **_named: Any) -> Any:
        return read(plain(memory, tensor))

    return asked


def _array(tensor: Any) -> Any:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _format(memory: Memory, tensor: Any, spec: str) -> str:
    return _text(memory, tensor) if tensor.dim() else format(plain(memory, tensor).item(), spec)


_Tensor: Any = torch.Tensor
SPECIAL: dict[Any, Callable[..., Any]] = {
    _Tensor.item: _read(lambda one: one.item()),
    _Tensor.tolist: _read(lambda one: one.tolist()),
    _Tensor.numpy: _read(_array),
    _Tensor.__array__: _read(_array),
    _Tensor.__float__: _read(float),
    _Tensor.__int__: _read(int),
    _Tensor.__index__: _read(int),
    _Tensor.__format__: _format,
    _Tensor.__repr__: _text,
    _Tensor.__bool__: _truth,
    _Tensor.__contains__: _contains,
}
"""Calls that ask for values."""

_FALSE = {torch.isnan, torch.isinf, _Tensor.isnan, _Tensor.isinf}
_TRUE = {torch.isfinite, _Tensor.isfinite}
_SAME = {torch.any, torch.all, _Tensor.any, _Tensor.all, _Tensor.detach, torch.logical_or, torch.logical_and,
         _Tensor.logical_or, _Tensor.logical_and, _Tensor.__or__, _Tensor.__and__}  # fmt: skip
_OTHER = {torch.logical_not, _Tensor.logical_not, _Tensor.__invert__}

_COMPARES: dict[str, Any] = {
    "lt": operator.lt, "less": operator.lt, "le": operator.le, "gt": operator.gt, "greater": operator.gt,
    "ge": operator.ge, "eq": operator.eq, "ne": operator.ne,
}  # fmt: skip


def _one(value: Any) -> Any:
    """Return a plain number, and 1 for a tensor."""
    return 1 if isinstance(value, torch.Tensor) else value


def remembered(func: Any, args: Any, found: Any) -> Any:
    """Return a result that knows whether it is true: in a run that goes well every number is finite.

    Else a comparison gives what it gives if every number is 1.
    """
    if isinstance(found, FakeTensor) and found.dtype == torch.bool:
        before = getattr(args[0], "_accel_truth", None) if args else None
        if func in _FALSE or func in _TRUE:
            found._accel_truth = func in _TRUE
        elif before is not None and (func in _SAME or func in _OTHER):
            found._accel_truth = before if func in _SAME else not before
        elif (how := _COMPARES.get(func.__name__.strip("_"))) is not None and len(args) > 1:
            found._accel_ones = how(_one(args[0]), _one(args[1]))
        elif args and (ones := getattr(args[0], "_accel_ones", None)) is not None:
            found._accel_ones = ones if func in _SAME else not ones
    return found
