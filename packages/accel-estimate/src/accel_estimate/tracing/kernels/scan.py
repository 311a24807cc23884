"""The scan of mamba_ssm: selective_scan_fn, and the functions of C++ below it."""

from __future__ import annotations

from importlib import import_module

from accel_estimate.tracing.kernels.checks import FLOATS, along, need, straight

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

torch: Any = import_module("torch")
_Function: Any = torch.autograd.Function

CHUNK = 2048
"""Tokens for which the scan keeps one pair of states."""
GROUPED = 4
"""Dimensions of B and C: sequences, groups, states, tokens."""
_MOST_STATES = 256


def _check_scan(given: tuple[Any, ...]) -> None:
    u, delta, a, b, c, d, z, bias = given
    (batch, dim, length), states = u.shape, a.shape[1]
    for name, tensor, kind, shape in (
        ("u", u, u.dtype, (batch, dim, length)),
        ("delta", delta, u.dtype, (batch, dim, length)),
        ("A", a, torch.float32, (dim, states)),
        ("B", b, u.dtype, (batch, b.shape[1], states, length)),
        ("C", c, u.dtype, (batch, c.shape[1], states, length)),
        ("D", d, torch.float32, (dim,)),
        ("z", z, u.dtype, (batch, dim, length)),
        ("delta_bias", bias, torch.float32, (dim,)),
    ):
        if tensor is None:
            continue
        need(tensor.dtype == kind and kind in FLOATS, f"selective_scan: {name} is {tensor.dtype}, needs {kind}")
        need(tuple(tensor.shape) == shape, f"selective_scan: {name} must have the shape {shape}")
        need(name == "A" or along(tensor, -1), f"selective_scan: {name} isn't contiguous along its tokens")
    need(states <= _MOST_STATES, "selective_scan: at most 256 states")


def scanned(*given: Any) -> tuple[Any, Any, Any]:
    """Return the result before its gate, the states between chunks, and the result."""
    _check_scan(given)
    u, delta, a, _, _, _, z, _ = given
    gated = None if z is None else torch.empty_like(z)
    out = torch.empty_like(delta)
    chunks = -(-u.shape[2] // CHUNK)
    return out, torch.empty((*u.shape[:2], chunks, 2 * a.shape[1]), dtype=a.dtype, device=u.device), gated


def unscanned(given: tuple[Any, ...], grad: Any, out: Any, into: Any, *, again: bool) -> tuple[list[Any], Any]:
    """Return the gradients of all that is given, and (`again`) the result once more; the gate's may have a place."""
    u, delta, a, b, c, d, z, bias = given
    _check_scan(given)
    need(grad.dtype == u.dtype and grad.shape == u.shape and along(grad, -1), "selective_scan: another gradient")
    into = torch.empty_like(z) if into is None and z is not None else into
    gated = torch.empty_like(out) if again else None
    inputs, steps, rates = torch.empty_like(u), torch.empty_like(delta), torch.zeros_like(a)
    wide = [torch.zeros_like(one, dtype=torch.float32) for one in (b, c)]
    small = [None if one is None else torch.zeros_like(one) for one in (d, bias)]
    narrow = [one.to(b.dtype) for one in wide]
    return [inputs, steps, rates, *narrow, small[0], into, small[1]], gated


class _Scan(_Function):
    """Keeps copies by channels of what comes by tokens."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        u, delta, a, b, c, d, z, bias = given
        u, delta, b, c, z = map(straight, (u, delta, b, c, z))
        d = None if d is None else d.contiguous()
        ctx.grouped = [one.dim() == GROUPED for one in (b, c)]
        b, c = (one if grouped else one.unsqueeze(1) for one, grouped in zip((b, c), ctx.grouped, strict=True))
        out, states, gated = scanned(u, delta, a, b, c, d, z, bias)
        ctx.save_for_backward(u, delta, a, b, c, d, z, bias, states, None if z is None else out)
        ctx.mark_non_differentiable(states)
        return (out if z is None else gated), states

    @staticmethod
    def backward(ctx: Any, grad: Any, *_states: Any) -> Any:
        *given, _, out = ctx.saved_tensors
        found, _ = unscanned(tuple(given), straight(grad), out, None, again=False)
        for place, grouped in zip((3, 4), ctx.grouped, strict=True):
            found[place] = found[place] if grouped else found[place].squeeze(1)
        return tuple(found)


def selective_scan_fn(u: Any, delta: Any, *weights: Any, **named: Any) -> Any:
    """Return the scan of a state space, times its gate. The `weights` are A, B and C."""
    found, states = _Scan.apply(u, delta, *weights, *(named.get(name) for name in ("D", "z", "delta_bias")))
    return (found, states[:, :, -1, 1::2]) if named.get("return_last_state") else found
