"""What each part of a layer saves of a token."""

from __future__ import annotations

from accel_estimate.model.blueprint import Mlp
from accel_estimate.training.activations.compute import Saved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from accel_estimate.model.blueprint import Attention, Experts, Layer, NormKind, StateSpace
    from accel_estimate.training.activations.compute import Compute

_FP32 = 4
_CHUNK = 2048
"""Tokens for which the scan of a state space keeps a pair of states (csrc/selective_scan/selective_scan.cpp)."""


def layer(it: Layer, hidden: int, length: int, how: Compute) -> Saved:
    """Return the bytes a token that one layer saves in a sequence of `length` tokens, without checkpointing."""
    parts, reads = [Saved(stream=it.norms * norm(it.norm, hidden, how))], how.behind(it.norm)
    parallel = it.norms == 1 and it.attention is not None and it.mlp is not None
    if it.parallel and it.norms > 1 and it.norm == "layer" and reads.stream == how.stream:  # they keep the same input
        parts.append(Saved(stream=-how.stream * hidden))
    if it.attention:
        parts.append(attended(it, it.attention, length, how))
        keys = _inputs(it.attention, it.mlp if parallel else None)
        parts.append(Saved(gathered=_kept(hidden, keys, reads)))
    if it.cross:
        parts += [
            attended(it, it.cross, length, how, how.across),
            Saved(gathered=_kept(hidden, ("q", "k", "v") if how.casts else ("q",), reads)),
        ]
    if it.mlp:
        parts.append(feeding(it.mlp, how))
        if not parallel:
            parts.append(Saved(gathered=_kept(hidden, _first(it.mlp), reads)))
    if it.experts:
        parts.append(experts(it.experts, hidden, how))
    if it.space:
        parts += [mixed(it.space, length, how), Saved(gathered=_kept(hidden, ("in",), how))]
    if it.dropout:  # a one-byte mask after attention and one after the MLP
        parts.append(Saved(stream=hidden * (bool(it.attention) + bool(it.cross) + bool(it.mlp or it.experts))))
    return Saved().plus(*parts)


def norm(kind: NormKind, width: int, how: Compute) -> float:
    """Return the bytes that a normalization saves of one token.

    RMSNorm as written in Python: the fp32 input, one inverse root and, for the gradient of its weight, the
    normalized vector (Gemma's stays in fp32). LayerNorm is one kernel: its input, a mean and an inverse deviation.
    Compiled: the input.
    """
    if how.compiled:
        return how.width * width
    if kind == "layer":
        return how.behind(kind).stream * width + 8
    normalized = 4 if kind == "gemma" else how.stream
    kept = how.stream * width if kind == "t5" and how.stream < _FP32 else 0
    return kept + 4 * width + 4 + (normalized * width if how.trained else 0)


def _inputs(attention: Attention, mlp: Mlp | None) -> tuple[str, ...]:
    keys = ("qkv",) if attention.fused else ("q", "k") if attention.kv_rank else ("q", "k", "v")
    return keys + (_first(mlp) if mlp else ())


def _first(mlp: Mlp) -> tuple[str, ...]:
    return ("gate", "up") if mlp.gated and not mlp.fused else ("up",)


def _kept(width: int, keys: Iterable[str], how: Compute) -> float:
    """Return the bytes that matrix products with the same input of `width` numbers keep of it."""
    keys = tuple(keys)
    kept = 0.0
    if how.trained or how.keeps_inputs:
        kept += how.width * width * (len(keys) if how.casts else 1)
    adapters = sum(key in how.adapted for key in keys)
    if adapters and how.adapter_copy:
        kept += how.adapter_copy * width * adapters
    elif adapters and not kept:
        kept += how.width * width
    return kept


def attended(block: Layer, it: Attention, length: int, how: Compute, across: float = 1.0) -> Saved:
    """Return the bytes of attention itself; `across` is the number of keys for each query."""
    key, value = across * it.key_width, across * it.value_width
    eager = how.scores(it)
    if it.kv_rank or how.repeats_keys or eager:  # as many keys and values as query heads
        key, value = across * it.heads * it.head_dim, across * it.heads * it.value_dim
    inner = (_FP32 if how.unfused(it) else how.width) * (it.query_width + key + value) + _around(block, it, how)
    narrow = how.replace(stream=how.width)  # the result of attention is narrow already: no cast
    if eager:
        inner += _kept(it.out_width, ("o",), narrow) + it.heads * length * scores(it, how, dropout=block.dropout)
        return Saved(inner=inner)
    inner += how.width * _padded(it, how)
    own = how.adapter_copy * it.out_width if "o" in how.adapted else 0
    return Saved(inner=inner + how.width * it.out_width + own + 4 * it.heads)  # and a log-sum-exp a head


def _around(block: Layer, it: Attention, how: Compute) -> float:
    """Return the bytes between the products and attention itself: norms of heads and of latents, and fused products.

    The values are a view of a fused product. The view keeps all of the product alive, in addition to the rotated
    queries and keys (eager attention copies the values instead).
    """
    extra = 0.0
    if it.kv_rank:  # and values are a view of a product that holds the keys too
        reads = 2 if how.trained else how.adapter_copy == 0 and bool(how.adapted)
        extra += (it.q_rank + it.kv_rank) * (4 + reads * how.width)
        extra += how.width * it.heads * (it.head_dim - it.rope_dim)
        extra += how.adapter_copy * (it.q_rank + it.kv_rank) * bool(how.adapted)
    if it.head_norms:
        width = it.query_width + it.key_width
        extra += how.width * width if how.compiled else norm(block.norm, width, how.replace(stream=how.width))
    repeated = how.repeats_keys and it.kv_heads < it.heads  # copies, which leave nothing of the product alive
    if it.fused and it.rotary and not how.scores(it) and not repeated:
        extra += how.width * (it.query_width + it.key_width)
    if it.copied and how.flash and how.trained:
        extra += how.width * it.out_width
    return extra


def _padded(it: Attention, how: Compute) -> int:
    """Return the width of the adapters' result that `index_copy` keeps, if not all of q, k, v have adapters."""
    widths = {"q": it.query_width, "k": it.key_width, "v": it.value_width}
    found = [widths[key] for key in widths if key in how.adapted]
    return sum(found) if how.pads and len(found) < len(widths) else 0


def scores(it: Attention, how: Compute, *, dropout: bool) -> float:
    """Return the bytes of a score of eager attention: an fp32 softmax, its narrow copy, dropout's mask and result.

    In fp32 the copy is the softmax itself. A soft cap (Gemma 2) keeps the tangent of the score.
    """
    copy = 0 if how.width == _FP32 else how.width
    if it.sinks:  # a softmax in the type of the scores, in fp32 under autocast alone
        return 4 + copy if how.casts else how.width
    if how.unfused(it):
        return 4
    return 4 + (1 + how.width if dropout else copy) + (how.width if it.softcap else 0)


def feeding(it: Mlp, how: Compute) -> Saved:
    """Return the bytes of a feed-forward net's inner vectors.

    Gated: the gate, its activation and the other branch. Plain: the input of the activation (a GELU written in
    Python keeps four vectors, ReLU only its result). Both: the input of the last matrix if that is kept.
    """
    last, mask = _kept(it.width, ("down",), how.replace(stream=how.width)), it.width * it.dropout
    if it.gated:
        kept = how.width * (6 if it.activation in ("clamped", "gelu_new") else 3)
        if it.activation == "gelu_new" and how.widens:
            kept = 4 * _FP32 + 2 * how.width
        return Saved(inner=it.width * (2 * how.width if how.compiled else kept) + last + mask)
    if it.activation == "relu":
        copy = how.adapter_copy * it.width if "down" in how.adapted else 0
        return Saved(inner=mask + how.width * it.width + (last if it.dropout else copy))
    kept = float(how.width)
    if it.activation == "gelu_new" and not how.compiled:  # autocast computes its power in fp32, and what follows
        kept = 3 * _FP32 + how.width if how.widens else 4 * how.width
    return Saved(inner=kept * it.width + last + mask)


def experts(it: Experts, hidden: int, how: Compute) -> Saved:
    """Return the bytes of a mixture's vectors: each token goes to `active` experts, whose results are weighted."""
    if not how.grouped and not it.stacked:
        return _visited(it, hidden, how)
    wider = how.replace(width=how.stream)  # autocast doesn't know grouped products
    if "experts" not in how.adapted:
        wider = wider.replace(adapted=frozenset(), trained=how.trained or (it.adapts and bool(how.adapted)))
    one = feeding(Mlp(it.width, activation="clamped" if it.stacked else "silu"), wider)
    copies = wider.width * hidden * (2 if wider.trained or "gate" in wider.adapted or "up" in wider.adapted else 1)
    wide = _FP32 * hidden * (it.wide_router and wider.trained and how.stream < _FP32)
    router = how.width * hidden * (how.trained if wide else wider.trained)
    if it.shared:  # its products read what the router reads
        keys = ("gate", "up", "gate") if it.shared_gate else ("gate", "up")
        router += _kept(hidden, keys, how) - how.width * hidden * (how.trained and not how.casts)
    return Saved(
        stream=router + wide + 8 * it.number, inner=it.active * (one.inner + copies) + shared(it, hidden, how)
    )


def _visited(it: Experts, hidden: int, how: Compute) -> Saved:
    """Return the bytes of experts that run one by one: linear layers on copies of their tokens.

    Each keeps its result, which is weighted. What the router reads is kept for its own gradient.
    """
    one = feeding(Mlp(it.width), how.replace(adapted=how.adapted if "experts" in how.adapted else frozenset()))
    reads = _kept(hidden, ("gate", "up"), how)
    router = how.width * hidden * how.trained + 8 * it.number
    return Saved(stream=router, inner=it.active * (one.inner + reads + how.stream * hidden) + shared(it, hidden, how))


def shared(it: Experts, hidden: int, how: Compute) -> float:
    """Return the bytes of the experts that every token visits."""
    return (feeding(Mlp(it.shared), how).inner if it.shared else 0.0) + how.width * hidden * it.shared_gate


def mixed(it: StateSpace, length: int, how: Compute) -> Saved:
    """Return what a state space's mixer saves between its first product and its last.

    Mamba's is one function (mamba_inner_fn of mamba_ssm, checkpoint level 1): both halves of the first product's
    result, the scan's result, the step with B and C, and B and C once more. Jamba norms these, so it runs the parts:
    the convolution keeps those halves, the scan has copies of what it reads (the convolution's result, the step and
    the gate), and the products keep their inputs (the convolution's result, the step, and the gated result). The scan
    keeps fp32 states of each chunk.
    """
    states = 2 * _FP32 * it.inner * it.state * -(-length // _CHUNK) / length
    if not it.normed:
        return Saved(inner=how.width * (3 * it.inner + it.rank + 4 * it.state) + states)
    narrow = how.replace(stream=how.width)
    products = _kept(it.inner, ("x",), narrow) + last_of_mixer(it, how)
    norms = norm("rms", it.rank + 2 * it.state, narrow) + 2 * _FP32  # three, each with an inverse root
    reads = how.width * (2 * it.state + it.rank * how.trained)
    return Saved(inner=6 * how.width * it.inner + products + norms + reads + states)


def last_of_mixer(it: StateSpace, how: Compute) -> float:
    """Return the bytes of the input of a mixer's last product, where that is a product of its own."""
    return _kept(it.inner, ("out",), how.replace(stream=how.width)) if it.normed else 0.0
