"""What a script reads from tensors without data: known whole numbers as they are, other numbers as 1."""

from __future__ import annotations

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


def _truth(_memory: Memory, tensor: Any) -> bool:
    known = getattr(tensor, "_accel_known", None)
    if known is not None:
        return bool(known)
    truth = getattr(tensor, "_accel_truth", None)
    if truth is None:
        raise UnsupportedError(f"decides by the value of a tensor, which tensors without data don't have; {SKIP}")
    return truth


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


def remembered(func: Any, args: Any, found: Any) -> Any:
    """Return a result that knows whether it is true: in a run that goes well every number is finite."""
    if isinstance(found, FakeTensor) and found.dtype == torch.bool:
        before = getattr(args[0], "_accel_truth", None) if args else None
        if func in _FALSE or func in _TRUE:
            found._accel_truth = func in _TRUE
        elif before is not None and (func in _SAME or func in _OTHER):
            found._accel_truth = before if func in _SAME else not before
    return found
