"""The whole mixer of mamba_ssm: MambaInnerFn at its checkpoint level 1, by the layouts of its tensors.

"Rows" are tokens.
"""

from __future__ import annotations

from importlib import import_module

from accel_estimate.tracing.kernels.checks import need, straight
from accel_estimate.tracing.kernels.convolution import convolved_by, unconvolved
from accel_estimate.tracing.kernels.scan import GROUPED, scanned, unscanned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

torch: Any = import_module("torch")
_Function: Any = torch.autograd.Function

_NORMED_BYTES = 65536


def _rows(tensor: Any) -> Any:
    """Return sequences of channels as rows of channels."""
    return tensor.transpose(1, 2).reshape(-1, tensor.shape[1])


def _columns(tensor: Any) -> Any:
    """Return sequences of channels as channels of all tokens."""
    return tensor.transpose(0, 1).reshape(tensor.shape[1], -1)


def _sequences(columns: Any, batch: int) -> Any:
    return columns.view(columns.shape[0], batch, -1).transpose(0, 1)


def _by_state(rows: Any, batch: int) -> Any:
    return rows.reshape(batch, -1, rows.shape[1]).transpose(1, 2).unsqueeze(1).contiguous()


def _norm(parts: list[Any], place: int, weight: Any) -> None:
    """Norm the rows of one of `parts` by triton's kernel; the steps follow one another as they release memory."""
    if weight is None:
        return
    batch, grouped = parts[place].shape[0], parts[place].dim() == GROUPED
    parts[place] = _rows(parts[place].squeeze(1) if grouped else parts[place]).contiguous()
    parts[place] = _normed(parts[place], weight)
    found = parts[place].view(batch, -1, weight.shape[0]).transpose(1, 2)
    parts[place] = (found.unsqueeze(1) if grouped else found).contiguous()


def _normed(rows: Any, weight: Any) -> Any:
    need(tuple(weight.shape) == (rows.shape[1],), "mamba_ssm: a norm of another width")
    need(rows.shape[1] * rows.element_size() <= _NORMED_BYTES, "mamba_ssm: a norm of at most 64 KB")
    found, deviations = torch.empty_like(rows), torch.empty(rows.shape[0], dtype=torch.float32, device=rows.device)
    del deviations
    return found


class _Mixer(_Function):
    """Keeps both halves of its input and its result before the gate; makes the convolution and the step again."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")
    def forward(ctx: Any, xz: Any, kernel: Any, shift: Any, *others: Any) -> Any:
        x_proj, dt_proj, out_proj, out_bias, a, d, bias, *norms = others
        batch, rank, states = xz.shape[0], dt_proj.shape[1], a.shape[1]
        if torch.is_autocast_enabled("cpu"):
            kind = torch.get_autocast_dtype("cpu")
            x_proj, dt_proj, out_proj = (one.to(kind) for one in (x_proj, dt_proj, out_proj))
            out_bias = None if out_bias is None else out_bias.to(kind)
        xz, kernel = straight(xz), kernel.squeeze(1)
        x, z = xz.chunk(2, dim=1)
        shift = None if shift is None else shift.contiguous()
        convolved = convolved_by(x, kernel, shift)
        read = torch.nn.functional.linear(_rows(convolved), x_proj)
        parts = [_sequences(dt_proj @ read[:, :rank].t(), batch)]
        parts += [_by_state(read[:, rank : rank + states], batch), _by_state(read[:, -states:], batch)]
        d = None if d is None else d.contiguous()
        for place in (1, 2, 0):
            _norm(parts, place, norms[place - 1])
        delta, b, c = parts
        parts.clear()
        out, between, gated = scanned(convolved, delta, a, b, c, d, z, bias)
        ctx.biased = out_bias is not None
        del convolved, delta
        products = x_proj, dt_proj, out_proj
        ctx.save_for_backward(xz, kernel, shift, read, *products, a, b, c, d, bias, between, out, *norms)
        return torch.nn.functional.linear(gated.transpose(1, 2), out_proj, out_bias)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, grad: Any) -> Any:
        (xz, kernel, shift, read, x_proj, dt_proj, out_proj, a, b, c, d, bias, _, out, *norms) = ctx.saved_tensors
        batch, rank, states = xz.shape[0], dt_proj.shape[1], a.shape[1]
        x, z = xz.chunk(2, dim=1)
        grad = straight(grad)
        convolved = convolved_by(x, kernel, shift)
        parts = [_sequences(dt_proj @ read[:, :rank].t(), batch), b, c]
        del b, c
        for place in range(3):  # B and C are normed already, and once more
            _norm(parts, place, norms[place - 1])
        both = torch.empty_like(xz)
        into, into_z = both.chunk(2, dim=1)
        grad = grad.permute(2, 0, 1).reshape(grad.shape[2], -1)
        before = _sequences(out_proj.t() @ grad, batch)
        given = (convolved, parts[0], a, *parts[1:], d, z, bias)
        found, gated = unscanned(given, before, out, into_z, again=True)
        inputs, steps, of_a, of_b, of_c, of_d, _, of_bias = found
        found.clear()
        of_out_proj = torch.einsum("et,dt->ed", grad, _columns(gated))
        of_out_bias = grad.sum(dim=(0, 1)) if ctx.biased else None  # a single number, which autograd then refuses
        reads = torch.empty_like(read)
        of_b = _rows(of_b.squeeze(1)).contiguous()
        reads[:, rank : rank + states] = of_b
        of_b = None
        of_c = _rows(of_c.squeeze(1)).contiguous()
        reads[:, -states:] = of_c
        of_c = None
        steps = _columns(steps)
        of_dt_proj = torch.einsum("dt,tr->dr", steps, read[:, :rank])
        reads[:, :rank] = torch.einsum("dt,dr->tr", steps, dt_proj)
        inputs = _columns(inputs)
        of_x_proj = torch.einsum("tr,td->rd", reads, _rows(convolved))
        inputs = torch.addmm(inputs, x_proj.t(), reads.t(), out=inputs)
        _, of_kernel, of_shift = unconvolved(x, kernel, shift, _sequences(inputs, batch), into)
        projections = of_x_proj, of_dt_proj, of_out_proj, of_out_bias
        return both, of_kernel.unsqueeze(1), of_shift, *projections, of_a, of_d, of_bias, None, None, None


def mamba_inner_fn(*given: Any, **named: Any) -> Any:
    """Return a whole mixer's result. Given are xz, five weights, a bias, A, B, C and D, as the kernel has them."""
    *products, a, b, c, d = given
    need(b is None and c is None, "mamba_inner_fn: B and C that don't depend on the input aren't traced")
    norms = [named.get(f"{name}_rms_weight") for name in ("b", "c", "dt")]
    return _Mixer.apply(*products, a, d, named.get("delta_bias"), *norms)
