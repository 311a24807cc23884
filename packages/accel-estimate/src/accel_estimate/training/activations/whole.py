"""What a whole pass keeps, with checkpointing and parallelism."""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.model.blueprint import Layer
from accel_estimate.training.activations.compute import Saved
from accel_estimate.training.activations.layers import layer, norm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.model.blueprint import Blueprint, Stack
    from accel_estimate.training.activations.compute import Checkpointing, Compute


def checkpointed(it: Layer, hidden: int, how: Compute, kind: Checkpointing) -> Saved:
    """Return the bytes that a checkpointed layer saves of a token.

    full: its input. selective: its input, the result of attention, and every second matrix product (q, v, gate or up,
    down), as torchtitan's per-operation policy does (torchtitan/distributed/activation_checkpoint.py).
    """
    stream, inner = how.stream * hidden, 0.0
    if kind == "selective":
        for attention in filter(None, (it.attention, it.cross)):
            inner += how.width * (attention.query_width + attention.value_width)
            if not how.scores(attention):
                inner += how.width * attention.out_width + 4 * attention.heads
        width = it.mlp.width if it.mlp else it.experts.active * it.experts.width if it.experts else 0
        inner += how.width * width
        stream += how.width * hidden * bool(width)
        if it.space:
            inner += how.width * it.space.inner
    return Saved(stream, inner)


def working(it: Layer, hidden: int, how: Compute) -> Saved:
    """Return the bytes a token that one layer's backward pass adds at its peak to what the layer keeps.

    These are the gradients of the MLP's inner vectors, less the input of its last matrix, which is released by then
    if it was kept; or those of q, k, v and the result of attention; and that of the stream.
    """
    mlp = 0.0
    if it.mlp:
        mlp = it.mlp.width * ((3 if it.mlp.gated and it.mlp.activation != "gelu_new" else 2) - how.trained)
    if it.mlp and it.mlp.activation == "gelu_new" and how.casts:  # two in fp32
        mlp = 2 * _FP32 / how.width * it.mlp.width
    if it.experts:
        experts = it.experts
        mlp = (3 if experts.stacked else 2) * experts.width * experts.active + 2 * experts.shared
    if it.mlp and "down" in how.adapted:  # the gradient of the adapter's own copy of its input
        mlp += how.adapter_copy / how.width * it.mlp.width
    attention = it.attention or it.cross
    core = (
        attention.query_width + attention.out_width + attention.key_width + attention.value_width if attention else 0
    )
    space = 4 * it.space.inner if it.space else 0
    scaled = 2 * how.adapter_copy if how.adapted else 0  # an adapter's result, and that times its factor
    return Saved(
        stream=(how.stream + how.width * how.casts + scaled) * hidden, inner=how.width * max(mlp, core, space)
    )


_FP32 = 4
_CONVOLVED = 6


class Total(Record):
    """Bytes on one device.

    `kept` after the forward pass, of them `last` of one layer and `encoder` of an encoder with an input of its own;
    `layer` more while one layer's backward pass runs, `scores` more while its forward pass makes scores.
    """

    kept: float
    layer: float
    last: float = 0.0
    encoder: float = 0.0
    scores: float = 0.0


class Run(Record):
    """The input of one pass, and how it is divided.

    `batch` sequences of `length` tokens; tensor parallel degree `tp`, with sequence parallelism or without; `share`
    is the part of the layers that this device holds (pipeline parallelism).
    """

    batch: int
    length: int
    kind: Checkpointing = "none"
    tp: int = 1
    sequence: bool = True
    share: float = 1.0


def total(blueprint: Blueprint, run: Run, how: Compute) -> Total:
    """Return the bytes of a whole pass.

    An encoder whose input has a fixed length (an image, a sound) gets that length, any other `run.length`.
    """
    kept = peak = of_last = encoder = scores = 0.0
    for stack in blueprint.stacks:
        fixed = blueprint.fixed or (blueprint.encoder_tokens and stack is blueprint.encoder)
        side = blueprint.encoder_tokens if fixed else run.length
        cache: dict[int, tuple[float, float]] = {}  # a layer repeats as one object: it is worked out once
        for it in stack.layers:
            if id(it) not in cache:
                cache[id(it)] = _one(it, blueprint.hidden, side, run, how)
            held, added = cache[id(it)]
            kept += held * run.batch * side * run.share
            peak = max(peak, added * run.batch * side)
            of_last = held * run.batch * side
            scores = _forward_scores(it, blueprint.hidden, side, how) * run.batch * side / run.tp
            kept += _biases(it, side, run, how)
        kept += _masks(stack, side, run, how)
        if fixed and blueprint.vocab:  # two convolutions and their activations, the first at twice the length
            kept += _CONVOLVED * how.width * blueprint.hidden * run.batch * side
            encoder = kept
        last = Saved(stream=norm(stack.layers[0].norm if stack.layers else "rms", blueprint.hidden, how))
        kept += last.split(run.tp, sequence=run.sequence) * run.batch * side
    tokens = run.batch * run.length
    outside = how.stream * blueprint.vectors + how.width * blueprint.narrow_vectors + blueprint.masks
    if blueprint.moved and run.kind != "none" and how.adapted:  # peft has the embeddings' result require a gradient
        outside += how.width * blueprint.moved
    kept += outside * blueprint.hidden * tokens
    return Total(kept, peak, of_last, encoder, scores if run.kind != "none" else 0.0)


def _forward_scores(it: Layer, hidden: int, side: int, how: Compute) -> float:
    """Return the bytes a token of a layer whose forward pass makes scores: each as made, with its bias, and wide.

    Positions that aren't rotated are such biases.
    """
    if it.attention is None or not how.scores(it.attention) or it.attention.rotary:
        return 0.0
    ends = layer(it.replace(mlp=None, experts=None, norms=1), hidden, side, how)
    return ends.whole + it.attention.heads * side * (2 * how.width + _FP32)


def _one(it: Layer, hidden: int, side: int, run: Run, how: Compute) -> tuple[float, float]:
    """Return the bytes that a layer keeps of a token, and those that its backward pass adds."""
    whole = layer(it, hidden, side, how)
    kept = whole if run.kind == "none" else checkpointed(it, hidden, how, run.kind)
    peaks = [whole.plus(working(it, hidden, how))]
    if it.attention and how.scores(it.attention):
        peaks.append(scoring(it, hidden, side, how))
    elif it.attention and it.attention.biased:
        peaks.append(biasing(it, hidden, side, how))
    before = kept.split(run.tp, sequence=run.sequence) if run.kind == "none" else 0.0
    return kept.split(run.tp, sequence=run.sequence), max(
        peak.split(run.tp, sequence=run.sequence) - before for peak in peaks
    )


def _biases(it: Layer, side: int, run: Run, how: Compute) -> float:
    """Return the bytes of the mask that a biased layer makes for all sequences together; cross attention's is one."""
    if it.attention is None or not it.attention.biased or how.attention == "eager":
        return 0.0
    return how.width * it.attention.heads * side * side * run.share * (run.kind == "none")


def _masks(stack: Stack, side: int, run: Run, how: Compute) -> float:
    """Return the bytes of the biases that all layers of a stack have together, and of cross attention's mask."""
    first = stack.layers[0] if stack.layers else Layer()
    if first.attention is None or not first.attention.biased or how.attention == "eager":
        return 0.0
    masks = (2.5 if how.trained else 3) if run.kind != "none" else bool(first.cross)
    width = how.stream if run.kind != "none" else how.width
    return width * first.attention.heads * side * side * run.share * masks


def biasing(it: Layer, hidden: int, side: int, how: Compute) -> Saved:
    """Return the bytes a token that a layer has in the backward pass of biased attention: a gradient a score."""
    heads = it.attention.heads if it.attention else 0
    ends = layer(it.replace(mlp=None, experts=None, norms=1), hidden, side, how)
    return ends.plus(Saved(stream=2 * how.stream * hidden, inner=heads * side * how.width))


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
    scores = attention.heads * side * (2 * wide - narrow)
    ends = layer(it.replace(mlp=None, experts=None, norms=1), hidden, side, how)
    released = (_FP32 if how.unfused(attention) else how.width) + how.width * how.trained
    more = 0 if how.unfused(attention) else how.width
    stream = how.stream * (2 if how.casts else 1) + (how.adapter_copy if how.adapted else 0)
    return ends.plus(Saved(stream=stream * hidden, inner=scores + (more - released) * attention.out_width))
