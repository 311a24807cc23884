"""The convolution of causal_conv1d: causal_conv1d_fn, and the functions of C++ below it."""

from __future__ import annotations

from functools import partial
from importlib import import_module

from accel_estimate.tracing.kernels.checks import FLOATS, along, need

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

torch: Any = import_module("torch")
_Function: Any = torch.autograd.Function

_STEP, _WIDTHS = 8, (2, 3, 4)


def _by_channels(x: Any, weight: Any, bias: Any) -> bool:
    """Check what the convolution is given; return whether a token's channels follow one another."""
    (_, dim, _), fits = x.shape, partial(need, otherwise="causal_conv1d: types or shapes that its kernel refuses")
    fits(x.dtype in FLOATS and weight.dtype in FLOATS)
    fits(tuple(weight.shape) == (dim, weight.shape[-1]) and weight.shape[-1] in _WIDTHS)
    fits(x.stride(2) == 1 or x.stride(1) == 1)
    fits(bias is None or (bias.dtype == weight.dtype and bias.stride(-1) == 1 and tuple(bias.shape) == (dim,)))
    channels = x.stride(1) == 1 and x.stride(2) > 1
    steps = (dim, x.stride(0), x.stride(2)) if channels else ()
    need(not any(step % _STEP for step in steps), "causal_conv1d: channels and strides must be multiples of 8")
    return channels


def convolved_by(x: Any, weight: Any, bias: Any) -> Any:
    """Return the convolution of every channel, in the layout of its input."""
    _by_channels(x, weight, bias)
    return torch.empty_like(x)


def unconvolved(x: Any, weight: Any, bias: Any, grad: Any, into: Any = None) -> tuple[Any, Any, Any]:
    """Return the gradients of the input, weight and bias; that of the input may have a place already."""
    into = torch.empty_like(x) if into is None else into
    weights = torch.zeros_like(weight, dtype=torch.float32)
    biases = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
    channels = _by_channels(x, weight, bias)
    need(grad.shape == x.shape == into.shape and into.dtype == x.dtype, "causal_conv1d: a gradient of another shape")
    if not along(grad, 1 if channels else 2):
        copied = grad.transpose(1, 2).contiguous() if channels else grad.contiguous()  # until the kernel has run
        del copied
    need(into.stride(1 if channels else 2) == 1, "causal_conv1d: a gradient of another layout")
    return into, weights.type_as(weight), None if biases is None else biases.type_as(bias)


class _Convolution(_Function):
    """Keeps its input as it is, half of a product's result."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any) -> Any:
        x = x if 1 in (x.stride(2), x.stride(1)) else x.contiguous()
        bias = None if bias is None else bias.contiguous()
        ctx.save_for_backward(x, weight, bias)
        return convolved_by(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        grad = grad if 1 in (grad.stride(2), grad.stride(1)) else grad.contiguous()
        x, weight, bias = ctx.saved_tensors
        return unconvolved(x, weight, bias, grad)


def causal_conv1d_fn(x: Any, weight: Any, bias: Any = None, **named: Any) -> Any:
    """Return a convolution of every channel with the tokens before."""
    need(named.get("activation") in (None, "silu", "swish"), "causal_conv1d: activation must be None, silu, or swish")
    need(named.get("seq_idx") is None, "causal_conv1d: packed sequences aren't traced")
    return _Convolution.apply(x, weight, bias)
