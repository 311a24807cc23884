"""A blueprint's parameters: the tensors that its files would hold, computed from shapes alone."""

from __future__ import annotations

from itertools import islice
from math import prod

from accel_estimate.errors import CorruptFileError
from accel_estimate.formats.dtypes import STORED_BITS
from accel_estimate.formats.tensors import Tensor
from accel_estimate.model.blueprint import Mlp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from accel_estimate.model.blueprint import Attention, Blueprint, Experts, Layer, Shape, StateSpace

_MOST = 1_000_000


def tensors(blueprint: Blueprint, dtype: str = "F32") -> tuple[Tensor, ...]:
    """Return every parameter of the model in `dtype` (a safetensors name such as "BF16"), tied ones once.

    Raises:
        CorruptFileError: there are more than a million tensors.

    """
    bits = STORED_BITS[dtype]
    found = tuple(
        Tensor(name, dtype, shape, prod(shape) * bits // 8) for name, shape in islice(_shapes(blueprint), _MOST + 1)
    )
    if len(found) > _MOST:
        raise CorruptFileError(f"config.json: describes more than {_MOST:,} tensors, which isn't accepted")
    return found


def _shapes(blueprint: Blueprint) -> Iterator[Shape]:
    yield from blueprint.extras
    for stack in blueprint.stacks:
        cache: dict[Layer, list[Shape]] = {}  # layers repeat: each kind is worked out once
        for index, layer in enumerate(stack.layers):
            if layer not in cache:
                cache[layer] = list(_layer(layer, blueprint))
            yield from ((f"{stack.prefix}.{index}.{name}", shape) for name, shape in cache[layer])


def _layer(layer: Layer, blueprint: Blueprint) -> Iterator[Shape]:
    hidden, names = blueprint.hidden, blueprint.names
    if layer.attention:
        yield from _attention(layer.attention, hidden, dict(names))
    if layer.cross:
        cross = {key: f"{names['cross']}.{names[key].rpartition('.')[2]}" for key in ("q", "k", "v", "o", "qkv")}
        yield from _attention(layer.cross, hidden, dict(names) | cross)
    if layer.mlp:
        yield from mlp(layer.mlp, hidden, names["gate"], names["up"], names["down"])
    if layer.experts:
        yield from _experts(layer.experts, hidden, dict(names))
    if layer.space:
        yield from _space(layer.space, hidden, names["space"])
    for index in range(layer.norms):
        yield from norm(names["norm"].format(index), hidden, bias=layer.norm == "layer")
    yield from layer.extras


def linear(name: str, out: int, into: int, *, bias: bool = False) -> Iterator[Shape]:
    """Yield the tensors of a linear layer: [out, into], and [out] for its bias."""
    yield f"{name}.weight", (out, into)
    if bias:
        yield f"{name}.bias", (out,)


def norm(name: str, width: int, *, bias: bool) -> Iterator[Shape]:
    """Yield the tensors of a normalization: [width], and [width] for its bias."""
    yield f"{name}.weight", (width,)
    if bias:
        yield f"{name}.bias", (width,)


def _attention(it: Attention, hidden: int, names: dict[str, str]) -> Iterator[Shape]:
    if it.kv_rank:
        yield from _latent(it, hidden, names)
    elif it.fused:
        width = it.query_width + it.key_width + it.value_width
        yield from linear(names["qkv"], width, hidden, bias=it.bias)
    else:
        yield from linear(names["q"], it.query_width, hidden, bias=it.bias)
        yield from linear(names["k"], it.key_width, hidden, bias=it.bias and it.key_bias)
        yield from linear(names["v"], it.value_width, hidden, bias=it.bias)
    yield from linear(names["o"], hidden, it.out_width, bias=it.out_bias)
    prefix = names["o"].rpartition(".")[0]
    if it.head_norms:
        yield f"{prefix}.q_norm.weight", (it.head_dim,)
        yield f"{prefix}.k_norm.weight", (it.head_dim,)
    if it.sinks:
        yield f"{prefix}.sinks", (it.heads,)


def _latent(it: Attention, hidden: int, names: dict[str, str]) -> Iterator[Shape]:
    """Yield MLA's projections: queries, and keys with values, go down to a small rank and up again."""
    prefix = names["o"].rpartition(".")[0]
    if it.q_rank:
        yield from linear(f"{prefix}.q_a_proj", it.q_rank, hidden)
        yield f"{prefix}.q_a_layernorm.weight", (it.q_rank,)
        yield from linear(f"{prefix}.q_b_proj", it.query_width, it.q_rank)
    else:
        yield from linear(names["q"], it.query_width, hidden)
    yield from linear(f"{prefix}.kv_a_proj_with_mqa", it.kv_rank + it.rope_dim, hidden)
    yield f"{prefix}.kv_a_layernorm.weight", (it.kv_rank,)
    yield from linear(f"{prefix}.kv_b_proj", it.heads * (it.head_dim - it.rope_dim + it.value_dim), it.kv_rank)


def mlp(it: Mlp, hidden: int, gate: str, up: str, down: str) -> Iterator[Shape]:
    """Yield the matrices of a feed-forward net."""
    if it.gated:
        yield from linear(gate, it.width, hidden, bias=it.bias)
    yield from linear(up, it.width, hidden, bias=it.bias)
    yield from linear(down, hidden, it.width, bias=it.bias)


def _experts(it: Experts, hidden: int, names: dict[str, str]) -> Iterator[Shape]:
    yield from linear(names["router"], it.number, hidden, bias=it.bias)
    if it.stacked:
        yield f"{names['experts']}.gate_up_proj", (it.number, hidden, 2 * it.width)
        yield f"{names['experts']}.down_proj", (it.number, it.width, hidden)
        if it.bias:
            yield f"{names['experts']}.gate_up_proj_bias", (it.number, 2 * it.width)
            yield f"{names['experts']}.down_proj_bias", (it.number, hidden)
    else:
        for index in range(it.number):
            prefix = f"{names['experts']}.{index}"
            yield from mlp(Mlp(it.width), hidden, f"{prefix}.gate_proj", f"{prefix}.up_proj", f"{prefix}.down_proj")
    if it.shared:
        prefix = names["shared"]
        yield from mlp(Mlp(it.shared), hidden, f"{prefix}.gate_proj", f"{prefix}.up_proj", f"{prefix}.down_proj")
    if it.shared_gate:
        yield from linear(f"{names['shared']}_gate", 1, hidden)


def _space(it: StateSpace, hidden: int, prefix: str) -> Iterator[Shape]:
    yield f"{prefix}.A_log", (it.inner, it.state)
    yield f"{prefix}.D", (it.inner,)
    yield from linear(f"{prefix}.in_proj", 2 * it.inner, hidden)
    yield f"{prefix}.conv1d.weight", (it.inner, 1, it.conv)
    yield f"{prefix}.conv1d.bias", (it.inner,)
    yield from linear(f"{prefix}.x_proj", it.rank + 2 * it.state, it.inner)
    yield from linear(f"{prefix}.dt_proj", it.inner, it.rank, bias=True)
    yield from linear(f"{prefix}.out_proj", hidden, it.inner)
    if it.normed:  # Jamba normalizes the step and both projections of the state
        for name, width in (("dt", it.rank), ("b", it.state), ("c", it.state)):
            yield f"{prefix}.{name}_layernorm.weight", (width,)
