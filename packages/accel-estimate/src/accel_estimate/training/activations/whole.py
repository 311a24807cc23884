"""What a whole pass keeps, with checkpointing and parallelism."""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.training.activations.backward import attending, forward_scores, normalizing, working
from accel_estimate.training.activations.compute import Saved
from accel_estimate.training.activations.layers import experts, feeding, layer, norm
from accel_estimate.training.activations.masks import biases, masking, masks, masks_again, rates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_estimate.model.blueprint import Blueprint, Layer
    from accel_estimate.training.activations.compute import Checkpointing, Compute
    from accel_estimate.training.activations.masks import Run


def checkpointed(it: Layer, hidden: int, how: Compute, kind: Checkpointing) -> Saved:
    """Return the bytes that a checkpointed layer saves of a token.

    full: its input. selective: its input, the result of attention, and every second matrix product (q, v, gate or up,
    down), as torchtitan's per-operation policy does (torchtitan/distributed/activation_checkpoint.py).
    """
    stream, inner = how.enters * hidden, 0.0
    if kind == "selective":
        for attention in filter(None, (it.attention, it.cross)):
            inner += how.width * (attention.query_width + attention.value_width)
            if not how.scores(attention):
                inner += how.width * attention.out_width + 4 * attention.heads
        width = it.mlp.width if it.mlp else it.experts.active * it.experts.width if it.experts else 0
        inner += how.width * width
        stream += how.width * hidden * bool(width)
        if it.space:  # a mixer has four products: its first and its step are kept, or the other two
            others = it.space.rank + 2 * it.space.state + hidden
            inner += how.width * (3 * it.space.inner + others) / 2 if width else 3 * how.width * it.space.inner
    return Saved(stream, inner)


_FP32 = 4
_CONVOLVED, _ENDS = 5, 2


class Total(Record):
    """Bytes on one device.

    `kept` after the forward pass, of them `last` of one layer, `final` behind the last layer; `given` more until the
    forward pass is over; `encoder` when the decoder's backward pass is over, `apart` if the encoder has an input of
    its own; `layer` more while one layer's MLP runs backward, `attending` while its attention does, `normalizing`
    while its first norm does; `first`: the same three of the first layer, `between` of those between it and the
    last; `lasting` until the end of the backward pass; `scores` more while a forward pass makes scores or masks.
    Where layers are of several kinds, `each` has what every one keeps, and the same three; `forward`: more while the
    last one's MLP runs forward.
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
    lasting: float = 0.0
    first: Peaks = (0.0, 0.0, 0.0)
    between: Peaks | None = None
    each: tuple[tuple[float, Peaks], ...] = ()
    forward: float = 0.0


Peaks = tuple[float, float, float]
"""While a layer's MLP runs backward, its attention, its first norm."""


def total(blueprint: Blueprint, run: Run, how: Compute) -> Total:
    """Return the bytes of a whole pass.

    An encoder whose input has a fixed length (an image, a sound) gets that length, any other `run.length`.
    """
    kept = of_last = encoder = final = lasting = 0.0
    found: list[Peaks] = []
    held_by: list[float] = []
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
            tokens, (before, after) = run.batch * side, masks_again(it, side, run, how)
            found.append((mlp * tokens + before, attention * tokens + after, first * tokens + after))
            of_last = held * run.batch * side
            held_by.append(of_last * run.share)
            kept += biases(it, side, run, how) + rates(it, run, how)
        made = masks(stack, side, run, how)
        kept += made
        windows = {it.attention.window > 0 for it in stack.layers if it.attention}
        lasting = 0.0 if blueprint.encoder or not windows else made / len(windows)  # only the first layer's lasts
        if fixed and blueprint.vocab and how.trained:
            # Two convolutions and their activations, the first at twice the length, and what the encoder gives.
            given = how.behind(stack.layers[0].norm if stack.layers else "layer").stream
            kept += (_CONVOLVED * how.width + given) * blueprint.hidden * run.batch * side
        last = Saved(
            stream=norm(
                stack.layers[0].norm if stack.layers else "rms", blueprint.hidden, how.replace(stream=how.summed)
            )
        )
        final = last.split(run.tp, sequence=run.sequence, again=run.gathers_again) * run.batch * side
        kept += final
        if stack is blueprint.encoder and how.trained:  # and the gradient of what it gives; a text's is kept as well
            encoder = kept + (1 if fixed else 2) * how.stream * blueprint.hidden * run.batch * side
    tokens = run.batch * run.length
    outside = how.stream * blueprint.vectors + how.width * blueprint.narrow_vectors + blueprint.masks
    if blueprint.moved and run.kind != "none" and how.adapted:  # peft has the embeddings' result require a gradient
        outside += how.width * blueprint.moved
    kept += outside * blueprint.hidden * tokens
    given = (how.summed - how.stream) * blueprint.hidden * tokens  # what the last norm gives, before its cast
    kept -= _first_less(blueprint, run, how)
    if blueprint.masks > 1:  # T5's last dropout, and what its forward pass holds: the result, and that times a factor
        final += blueprint.hidden * tokens
        given = how.stream * blueprint.hidden * tokens * (2 if how.casts else 1)
        if run.kind != "none":  # its biases have a gradient until the decoder's first layer, where the peak is
            final += of_last * (len(blueprint.decoder.layers) - 1)
    scored = _scoring(blueprint, run, how, of_last) - final
    found = found or [(0.0, 0.0, 0.0)]
    return Total(
        kept,
        *_most(found),
        of_last,
        final,
        given,
        encoder,
        bool(encoder and blueprint.encoder_tokens),
        scored,
        lasting,
        found[0],
        _most(found[1:-1]) if len(found) > _ENDS else None,
        tuple(zip(held_by, found, strict=True)) if blueprint.uneven else (),
        _feeding(blueprint.decoder.layers[-1], blueprint.hidden, run, how) if blueprint.uneven else 0.0,
    )


def _first_less(blueprint: Blueprint, run: Run, how: Compute) -> float:
    """Return the bytes that the first layer of a model with state spaces keeps less than the others do.

    Its input is the embeddings', which aren't a sum in fp32 yet. Nothing before the first adapter has a gradient, so
    the norm before that keeps nothing. (In other families the small products of many adapters keep about as much;
    neither is counted.)
    """
    tokens, layers = run.batch * run.length / (run.tp if run.sequence else 1), blueprint.decoder.layers
    if not layers or layers[0].space is None:
        return 0.0
    if run.kind != "none":
        return (how.enters - how.stream) * blueprint.hidden * tokens
    return 0.0 if how.trained else norm(layers[0].norm, blueprint.hidden, how) * tokens


def _feeding(it: Layer, hidden: int, run: Run, how: Compute) -> float:
    """Return the bytes that a checkpointed layer's MLP makes in the forward pass."""
    if run.kind == "none":
        return 0.0
    made = experts(it.experts, hidden, how) if it.experts else feeding(it.mlp, how) if it.mlp else Saved()
    return made.whole * run.batch * run.length / run.tp


def _most(found: Sequence[Peaks]) -> Peaks:
    mlp, attention, norms = map(max, zip(*found, strict=True))
    return mlp, attention, norms


def _scoring(blueprint: Blueprint, run: Run, how: Compute, of_last: float) -> float:
    """Return the bytes that the last layer has while its forward pass makes scores or masks, beside what is kept.

    A layer without checkpointing keeps less at that moment than at its end.
    """
    if not blueprint.decoder.layers:
        return 0.0
    last, again = blueprint.decoder.layers[-1], run.kind != "none"
    if last.attention and last.attention.biased:
        made = masking(last, blueprint.hidden, run, how)
        return made if again else made - of_last - biases(last, run.length, run, how)
    return forward_scores(last, blueprint.hidden, run.length, how) * run.batch * run.length / run.tp if again else 0.0


def _one(it: Layer, hidden: int, side: int, run: Run, how: Compute) -> tuple[float, Peaks]:
    """Return the bytes that a layer keeps of a token, and those that each part of its backward pass adds.

    What a checkpointed layer makes again takes the place of what it kept, but for its input; a norm that doesn't copy
    that keeps the same tensor.
    """
    whole = running = layer(it, hidden, side, how)
    kept = whole if run.kind == "none" else checkpointed(it, hidden, how, run.kind)
    again = run.kind != "none"
    before = kept if not again or not _copies(it, how) else kept.replace(stream=kept.stream - how.enters * hidden)
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


def _copies(it: Layer, how: Compute) -> bool:
    """Return whether a layer's first norm makes an fp32 copy of a narrow input and keeps no more of it."""
    return how.behind(it.norm).stream > how.stream if it.norm == "layer" else it.norm != "t5" and how.stream < _FP32
