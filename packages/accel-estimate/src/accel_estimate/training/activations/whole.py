"""What a whole pass keeps, with checkpointing and parallelism."""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.training.activations.compute import Saved
from accel_estimate.training.activations.layers import layer, norm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.model.blueprint import Blueprint, Layer
    from accel_estimate.training.activations.compute import Checkpointing, Compute


def checkpointed(it: Layer, hidden: int, how: Compute, kind: Checkpointing) -> Saved:
    """Return the bytes that a checkpointed layer saves of a token.

    full: its input. selective: its input, the result of attention, and every second matrix product (q, v, gate or up,
    down), as torchtitan's per-operation policy does (torchtitan/distributed/activation_checkpoint.py).
    """
    stream, inner = how.stream * hidden, 0.0
    if kind == "selective":
        for attention in filter(None, (it.attention, it.cross)):
            inner += how.width * (attention.out_width + attention.query_width + attention.value_width)
            inner += 4 * attention.heads
        width = it.mlp.width if it.mlp else it.experts.active * it.experts.width if it.experts else 0
        inner += how.width * width
        stream += how.width * hidden * bool(width)
        if it.space:
            inner += how.width * it.space.inner
    return Saved(stream, inner)


def working(it: Layer, hidden: int, how: Compute) -> Saved:
    """Return the bytes a token of the gradients that one layer's backward pass holds at once.

    These are the gradients of the MLP's inner vectors, or of q, k, v and the result of attention; and two of the
    stream.
    """
    mlp = it.mlp.width * (3 if it.mlp.gated else 2) if it.mlp else 0
    if it.experts:
        mlp = 3 * (it.experts.active * it.experts.width + it.experts.shared)
    attention = it.attention or it.cross
    core = (
        attention.query_width + attention.out_width + attention.key_width + attention.value_width if attention else 0
    )
    space = 4 * it.space.inner if it.space else 0
    return Saved(stream=2 * how.stream * hidden, inner=how.width * max(mlp, core, space))


class Total(Record):
    """Bytes on one device: `kept` after the forward pass, `layer` more while one layer's backward pass runs."""

    kept: float
    layer: float


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
    kept = peak = 0.0
    for stack in blueprint.stacks:
        fixed = blueprint.encoder_tokens and (stack is blueprint.encoder or not blueprint.vocab)
        side = blueprint.encoder_tokens if fixed else run.length
        cache: dict[int, tuple[float, float]] = {}  # a layer repeats as one object: it is worked out once
        for it in stack.layers:
            if id(it) not in cache:
                cache[id(it)] = _one(it, blueprint.hidden, side, run, how)
            held, added = cache[id(it)]
            kept += held * run.batch * side * run.share
            peak = max(peak, added * run.batch * side)
        last = Saved(stream=norm(stack.layers[0].norm if stack.layers else "rms", blueprint.hidden, how))
        kept += last.split(run.tp, sequence=run.sequence) * run.batch * side
    return Total(kept, peak)


def _one(it: Layer, hidden: int, side: int, run: Run, how: Compute) -> tuple[float, float]:
    """Return the bytes that a layer keeps of a token, and those that its backward pass adds."""
    whole, work = layer(it, hidden, side, how), working(it, hidden, how)
    if run.kind == "none":
        kept, added = whole, work
    else:
        kept, added = checkpointed(it, hidden, how, run.kind), whole.plus(work)
    return kept.split(run.tp, sequence=run.sequence), added.split(run.tp, sequence=run.sequence)
