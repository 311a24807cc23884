"""What a layer's backward pass needs beside what its forward pass kept, part by part."""

from __future__ import annotations

from accel_estimate.training.activations.compute import Saved
from accel_estimate.training.activations.layers import last_of_mixer, layer, scores, shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.model.blueprint import Experts, Layer, Mlp
    from accel_estimate.training.activations.compute import Compute

_FP32 = 4
_USUAL_NORMS = 3


def working(it: Layer, hidden: int, how: Compute, *, again: bool = False) -> Saved:
    """Return the bytes a token that the backward pass of a layer's MLP adds at its peak to what the layer keeps.

    These are the gradients of the inner vectors, less the input of the last matrix, which is released by then if it
    was kept; and that of the stream. `again`: a checkpointed layer first makes what it keeps, with what else that
    takes. Gemma's norm behind the MLP runs backward before it: five fp32 vectors, when one of its own is released.
    T5 makes the input of the last matrix as wide as its weight, and its encoder's result has a gradient by then.
    """
    last = 4 * _FP32 / how.width * hidden if it.norms > _USUAL_NORMS else 0.0
    mlp = _feeding(it, it.mlp, hidden, how, again=again) if it.mlp else 0.0
    if it.experts:
        mlp = _dispatching(it.experts, hidden, how, again=again)
    mlp = max(mlp, last)
    stream = how.stream + how.width * how.casts
    if again and it.attention and it.attention.biased:
        stream += how.stream * bool(it.cross)
        if it.mlp and how.casts and it.mlp.width * _FP32 + hidden * how.stream > how.width * mlp:
            return Saved(stream=(stream + how.stream) * hidden, inner=_FP32 * it.mlp.width)
    return Saved(stream=stream * hidden, inner=how.width * mlp)


def _feeding(block: Layer, it: Mlp, hidden: int, how: Compute, *, again: bool) -> float:
    """Return the numbers of a token that the backward pass of an MLP adds.

    An adapter's own copy of the last matrix's input has a gradient that is wide at first; autocast made the copy from
    a wide one. Activations that are written in Python have several vectors, in fp32 where autocast computes a power.
    """
    adapted, wide = "down" in how.adapted, _FP32 / how.width
    released = how.trained or adapted
    numbers = (3 if it.gated and it.activation != "gelu_new" else 2) - released
    if it.activation == "gelu_bloom":
        numbers = 6 - released
    if it.activation == "gelu_new" and how.widens:
        numbers = 2 * wide if it.gated else 3 * wide - released
    if not adapted or not how.adapter_copy:
        return it.width * numbers
    result = 2 * how.adapter_copy * hidden / how.width  # an adapter's, and that times its factor
    made = it.width * (1 + wide * how.amp) + _passing(block, hidden, how) / how.width if again else 0.0
    return max(it.width * numbers, result + max(it.width * wide, made))


def _passing(it: Layer, hidden: int, how: Compute) -> float:
    """Return the bytes of what a layer's forward pass only passes on: its stream, and what a norm gives."""
    return (how.stream + how.behind(it.norm).stream) * hidden * (not how.trained)


def _dispatching(it: Experts, hidden: int, how: Compute, *, again: bool) -> float:
    """Return the numbers of a token that the backward pass of experts adds.

    Their results are released when their inner vectors have gradients, and so is the input of the last matrix if it
    was kept. Those that all tokens visit run backward first, or last (Qwen2's). Each token's results are on their way
    back to their experts: their gradients in three copies, in fp32 if the router's weights are.
    """
    if not how.grouped and not it.stacked:  # of one expert, and three gradients of the layer's input
        return max(2 * it.shared, (3 - how.trained) * it.width * it.active / max(it.number, 1) + 3 * hidden)
    weighted = (_FP32 if it.wide_weights else how.stream) / how.width
    before = 0.0 if it.shared_gate else shared(it, hidden, how) / how.width
    vectors = 3 if it.stacked and again else 2 if it.stacked or how.trained or it.adapts else 3
    inner = how.stream / how.width * it.active * (vectors * it.width - hidden * (not it.stacked))
    return max(2 * it.shared, inner - before, 3 * weighted * hidden * it.active - before)


def attending(it: Layer, hidden: int, side: int, how: Compute, *, again: bool = False) -> Saved:
    """Return the bytes a token that a layer has in the backward pass of attention, when that of its MLP is over.

    `again`: a checkpointed layer makes its scores again before, with the gradient of its result there.
    """
    if it.space:
        return _mixing(it, hidden, side, how)
    if it.attention is None:
        return Saved()
    if how.scores(it.attention):
        backward = scoring(it, hidden, side, how)
        forward = Saved(inner=forward_scores(it, hidden, side, how, again=True) + how.stream * hidden)
        return max(backward, forward, key=lambda saved: saved.whole) if again else backward
    if it.attention.biased:
        return biasing(it, hidden, side, how)
    attention = it.attention
    core = attention.query_width + attention.out_width + attention.key_width + attention.value_width
    scaled = 2 * how.adapter_copy if how.adapted else 0
    ends = layer(it.replace(mlp=None, experts=None, norms=1), hidden, side, how)
    return ends.plus(Saved((how.stream + how.width * how.casts + scaled) * hidden, how.width * core))


def _mixing(it: Layer, hidden: int, side: int, how: Compute) -> Saved:
    """Return the bytes a token that a layer has in the backward pass of a state space's mixer.

    Mamba's function convolves again, and makes the step again. Beside these two are the gradients of both halves, of
    the result, of the step and of the convolution's result, and the result made again; and a copy of the
    convolution's result, or of its gradient, by channels if there are several sequences. Jamba's scan has the
    gradient of its result as it comes and as it reads it, and those of the gate, the step and its input.
    """
    if it.space is None:
        return Saved()
    ends = layer(it.replace(mlp=None, experts=None, norms=1), hidden, side, how)
    vectors = 5 if it.space.normed else 9 - how.alone
    made = how.width * vectors * it.space.inner - last_of_mixer(it.space, how)
    arrives = how.width if how.summed > how.width and not it.space.normed else 0  # the result's gradient, cast
    return ends.plus(Saved(stream=(how.summed + arrives) * hidden, inner=made))


def normalizing(it: Layer, hidden: int, how: Compute) -> Saved:
    """Return the bytes a token at a layer's end: the backward pass of its first norm, and the stream's gradient.

    RMSNorm, written in Python, has five fp32 vectors beside its input; LayerNorm's kernel has two.
    """
    if it.norm == "layer" or how.compiled:
        return Saved(stream=4 * how.stream * hidden)
    return Saved(stream=(how.summed + 6 * _FP32) * hidden)


def forward_scores(it: Layer, hidden: int, side: int, how: Compute, *, again: bool = False) -> float:
    """Return the bytes a token of a layer whose forward pass makes scores: each as made, with its bias, and wide.

    Positions that aren't rotated are such biases. With sinks a score is there three times: masked, joined with the
    sinks, and less the largest.
    """
    if it.attention is None or not how.scores(it.attention) or (it.attention.rotary and not it.attention.sinks):
        return 0.0
    ends = layer(it.replace(mlp=None, experts=None, norms=1), hidden, side, how).whole
    if it.attention.sinks:
        made = 3 * how.stream - scores(it.attention, how, dropout=it.dropout)
    elif again:
        made = 2 * how.width + 2 * _FP32 - scores(it.attention, how, dropout=it.dropout)
    else:
        made = 2 * how.width + _FP32
    ends += _passing(it, hidden, how)
    if it.attention.fused and it.attention.eager:  # BLOOM copies queries, keys and values out of one product
        ends += how.width * (it.attention.query_width + it.attention.key_width + it.attention.value_width)
        ends += how.width * hidden * again  # and holds all that until its result is added up
    return ends + it.attention.heads * side * made


def biasing(it: Layer, hidden: int, side: int, how: Compute) -> Saved:
    """Return the bytes a token that a layer has in the backward pass of biased attention: a gradient a score."""
    heads = it.attention.heads if it.attention else 0
    core = 3 * it.attention.query_width if it.attention else 0
    ends = layer(it.replace(mlp=None, experts=None, norms=2 if it.cross else 1), hidden, side, how)
    return ends.plus(Saved(stream=2 * how.stream * hidden, inner=(heads * side + core) * how.width))


def scoring(it: Layer, hidden: int, side: int, how: Compute) -> Saved:
    """Return the bytes a token that a layer has in the backward pass of scores, when that of its MLP is over.

    These are two gradients of each score, in the type of the softmax. The values, and the input of the last matrix,
    are released by then.
    """
    attention = it.attention
    if attention is None:
        return Saved()
    wide = how.width if attention.sinks and not how.casts else _FP32
    narrow = (
        how.width if wide > how.width and not how.unfused(attention) else 0
    )  # the narrow copy of the softmax is released by then
    made = attention.heads * side * (2 * wide - narrow)
    ends = layer(it.replace(mlp=None, experts=None, norms=1), hidden, side, how)
    released = (_FP32 if how.unfused(attention) else how.width) + how.width * how.trained
    more = 0 if how.unfused(attention) else how.width
    stream = how.stream * (2 if how.casts else 1) + (how.adapter_copy if how.adapted else 0)
    return ends.plus(Saved(stream=stream * hidden, inner=made + (more - released) * attention.out_width))
