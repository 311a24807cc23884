"""What a whole pass keeps, with checkpointing and parallelism."""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.model.blueprint import Layer
from accel_estimate.training.activations.backward import attending, forward_scores, normalizing, working
from accel_estimate.training.activations.compute import Saved
from accel_estimate.training.activations.layers import layer, norm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.model.blueprint import Blueprint, Stack
    from accel_estimate.training.activations.compute import Checkpointing, Compute
    from accel_estimate.training.activations.recomputed import Recomputed


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


_FP32, _INT64 = 4, 8
_CONVOLVED = 6


class Total(Record):
    """Bytes on one device.

    `kept` after the forward pass, of them `last` of one layer, `final` behind the last layer; `given` is there until the forward
    pass is over; `encoder` is there when
    the decoder's backward pass is over, `apart` if the encoder has an input of its own; `layer` more while one layer's MLP runs backward, `attending` while its
    attention does, `normalizing` while its first norm does; `first`: the same three of the first layer; `scores` more
    while a forward pass makes scores.
    """

    kept: float
    layer: float
    attending: float = 0.0
    normalizing: float = 0.0
    last: float = 0.0
    final: float = 0.0
    given: float = 0.0
    encoder: float = 0.0
    apart: bool = False
    scores: float = 0.0
    first: Peaks = (0.0, 0.0, 0.0)


Peaks = tuple[float, float, float]
"""While a layer's MLP runs backward, its attention, its first norm."""


class Run(Record):
    """The input of one pass, and how it is divided.

    `batch` sequences of `length` tokens; tensor parallel degree `tp`, with sequence parallelism or without, and
    whether that gathers inputs again in the backward pass; `share` is the part of the layers that this device holds
    (pipeline parallelism). `recomputed`: what Megatron-LM computes again, in place of `kind`.
    """

    batch: int
    length: int
    kind: Checkpointing = "none"
    tp: int = 1
    sequence: bool = True
    share: float = 1.0
    gathers_again: bool = False
    recomputed: Recomputed | None = None


def total(blueprint: Blueprint, run: Run, how: Compute) -> Total:
    """Return the bytes of a whole pass.

    An encoder whose input has a fixed length (an image, a sound) gets that length, any other `run.length`.
    """
    kept = of_last = encoder = scored = final = 0.0
    found: list[Peaks] = []
    for stack in blueprint.stacks:
        fixed = blueprint.fixed or (blueprint.encoder_tokens and stack is blueprint.encoder)
        side = blueprint.encoder_tokens if fixed else run.length
        cache: dict[int, tuple[float, Peaks]] = {}  # a layer repeats as one object: it is worked out once
        for it in stack.layers:
            if id(it) not in cache:
                cache[id(it)] = _one(it, blueprint.hidden, side, run, how)
            held, added = cache[id(it)]
            kept += held * run.batch * side * run.share
            mlp, attention, first = added
            tokens, (before, after) = run.batch * side, _masks_again(it, side, run, how)
            found.append((mlp * tokens + before, attention * tokens + after, first * tokens + after))
            of_last = held * run.batch * side
            scored = forward_scores(it, blueprint.hidden, side, how) * run.batch * side / run.tp
            kept += _biases(it, side, run, how)
        kept += _masks(stack, side, run, how)
        if fixed and blueprint.vocab and how.trained:
            # Two convolutions and their activations, the first at twice the length, and what the encoder gives.
            kept += _CONVOLVED * how.width * blueprint.hidden * run.batch * side
        last = Saved(stream=norm(stack.layers[0].norm if stack.layers else "rms", blueprint.hidden, how))
        final = last.split(run.tp, sequence=run.sequence, again=run.gathers_again) * run.batch * side
        kept += final
        if stack is blueprint.encoder and how.trained:  # and the gradient of what it gives; a text's is kept as well
            encoder = kept + (1 if fixed else 2) * how.stream * blueprint.hidden * run.batch * side
    tokens = run.batch * run.length
    outside = how.stream * blueprint.vectors + how.width * blueprint.narrow_vectors + blueprint.masks
    if blueprint.moved and run.kind != "none" and how.adapted:  # peft has the embeddings' result require a gradient
        outside += how.width * blueprint.moved
    kept += outside * blueprint.hidden * tokens
    given = 0.0
    if blueprint.masks > 1:  # T5's last dropout, and what its forward pass holds: the result, and that times a factor
        final += blueprint.hidden * tokens
        given = how.stream * blueprint.hidden * tokens * (2 if how.casts else 1)
        if run.kind != "none":  # its biases have a gradient until the decoder's first layer, where the peak is
            final += of_last * (len(blueprint.decoder.layers) - 1)
    if run.kind == "none":
        scored = 0.0
    if blueprint.encoder and (last := blueprint.decoder.layers[-1]).attention and last.attention.biased:
        made = _masking(last, blueprint.hidden, run, how) - final
        scored = made - (of_last + _biases(last, run.length, run, how)) * (run.kind == "none")
    found = found or [(0.0, 0.0, 0.0)]
    mlp, attention, norms = map(max, zip(*found, strict=True))
    return Total(
        kept,
        mlp,
        attention,
        norms,
        of_last,
        final,
        given,
        encoder,
        bool(encoder and blueprint.encoder_tokens),
        scored,
        found[0],
    )


def _one(it: Layer, hidden: int, side: int, run: Run, how: Compute) -> tuple[float, Peaks]:
    """Return the bytes that a layer keeps of a token, and those that each part of its backward pass adds.

    What a checkpointed layer makes again takes the place of what it kept, but for its input; a norm that doesn't copy
    that keeps the same tensor.
    """
    whole = running = layer(it, hidden, side, how)
    kept = whole if run.kind == "none" else checkpointed(it, hidden, how, run.kind)
    again = run.kind != "none"
    before = kept if not again or not _copies(it, how) else kept.replace(stream=kept.stream - how.stream * hidden)
    others = Saved()
    if run.recomputed:
        kept, before, running = run.recomputed.held(it, hidden, side, how, whole)
        others = whole.times(run.recomputed.unit - 1)  # they wait in the same unit
    peaks = (
        running.plus(working(it, hidden, how, again=again)),
        attending(it, hidden, side, how, again=again).plus(others),
        normalizing(it, hidden, how).plus(others),
    )
    mlp, attention, first = (
        peak.split(run.tp, sequence=run.sequence, again=run.gathers_again)
        - before.split(run.tp, sequence=run.sequence, again=run.gathers_again)
        for peak in peaks
    )
    return kept.split(run.tp, sequence=run.sequence, again=run.gathers_again), (mlp, attention, first)


def _masking(it: Layer, hidden: int, run: Run, how: Compute) -> float:
    """Return the bytes of a layer of T5's decoder that makes its mask: the bias, that where it is masked, and a copy."""
    attention = it.attention
    if attention is None or how.attention == "eager":
        return 0.0
    alone = it.replace(mlp=None, cross=None, norms=1, dropout=False)
    ends = layer(alone, hidden, run.length, how).whole - how.width * attention.out_width
    masks = how.stream * (3 if run.kind == "none" else 2)  # checkpointed layers keep the bias anyway
    return run.length * (run.batch * ends + masks * attention.heads * run.length) / run.tp


def _copies(it: Layer, how: Compute) -> bool:
    """Return whether a layer's first norm makes an fp32 copy of a narrow input and keeps no more of it."""
    return how.behind(it.norm).stream > how.stream if it.norm == "layer" else it.norm != "t5" and how.stream < _FP32


def _biases(it: Layer, side: int, run: Run, how: Compute) -> float:
    """Return the bytes of the mask that a biased layer makes for all sequences together; cross attention's is one."""
    if it.attention is None or not it.attention.biased or how.attention == "eager":
        return 0.0
    return how.width * it.attention.heads * side * side * run.share * (run.kind == "none")


def _masks(stack: Stack, side: int, run: Run, how: Compute) -> float:
    """Return the bytes of the masks that all layers of a stack have together.

    Megatron-LM's core attention has none of numbers. Eager attention has one for each kind of window; checkpointed
    layers keep it for what they make again. T5's has a bias for each head, and another for cross attention. The
    gradient of a bias needs the whole numbers that it was looked up with.
    """
    first = stack.layers[0] if stack.layers else Layer()
    if first.attention is None or not first.attention.biased or how.attention == "eager":
        eager = {it.attention.window > 0 for it in stack.layers if it.attention and how.masks(it.attention)}
        kept = run.kind != "none" and run.recomputed is None
        return len(eager) * how.stream * run.batch * side * side * run.share * kept
    masks = how.width * bool(first.cross) + how.stream * (run.kind != "none")
    looked_up = _INT64 * (how.trained and run.kind == "none")
    return (masks * first.attention.heads + looked_up) * side * side * run.share


def _masks_again(it: Layer, side: int, run: Run, how: Compute) -> tuple[float, float]:
    """Return the bytes of the masks that a checkpointed layer of T5's decoder has beside those of all layers.

    It makes its mask and cross attention's again. The biases have a gradient, and if they are trained a copy of it.
    The first layer has made them all again when its MLP has run backward: the second number.
    """
    if run.kind == "none" or not it.cross or it.attention is None or not it.attention.biased:
        return 0.0, 0.0
    if how.attention == "eager":
        return 0.0, 0.0
    heads, pairs = it.attention.heads, side * side * run.share
    before = (3 * how.width + how.stream * how.trained) * heads + _INT64 * how.trained
    return before * pairs, (before - how.stream * heads) * pairs
