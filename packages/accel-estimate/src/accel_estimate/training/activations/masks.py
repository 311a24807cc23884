"""The masks of a pass as far as they are numbers: those of eager attention, and T5's with a bias for each head."""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.model.blueprint import Layer
from accel_estimate.training.activations.layers import layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.model.blueprint import Stack
    from accel_estimate.training.activations.compute import Checkpointing, Compute
    from accel_estimate.training.activations.recomputed import Recomputed

_INT64, _FP32 = 8, 4


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


def biases(it: Layer, side: int, run: Run, how: Compute) -> float:
    """Return the bytes of the mask that a biased layer makes for all sequences together; cross attention's is one."""
    if it.attention is None or not it.attention.biased or how.attention == "eager":
        return 0.0
    return how.width * it.attention.heads * side * side * run.share * (run.kind == "none")


def rates(it: Layer, run: Run, how: Compute) -> float:
    """Return the bytes that a state space keeps for all tokens together.

    These are its rates A, and the exponentials that they are made of; and fp32 copies of its factor D and of the
    bias of its step.
    """
    if it.space is None or run.kind != "none":
        return 0.0
    return it.space.inner * _FP32 * (2 * it.space.state + 2 * (how.width < _FP32)) * run.share / run.tp


def masks(stack: Stack, side: int, run: Run, how: Compute) -> float:
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


def masks_again(it: Layer, side: int, run: Run, how: Compute) -> tuple[float, float]:
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


def masking(it: Layer, hidden: int, run: Run, how: Compute) -> float:
    """Return the bytes of a layer of T5's decoder that makes its mask: the bias, where it is masked, and a copy."""
    attention = it.attention
    if attention is None or how.attention == "eager":
        return 0.0
    alone = it.replace(mlp=None, cross=None, norms=1, dropout=False)
    ends = layer(alone, hidden, run.length, how).whole - how.width * attention.out_width
    masks = how.stream * (3 if run.kind == "none" else 2)  # checkpointed layers keep the bias anyway
    return run.length * (run.batch * ends + masks * attention.heads * run.length) / run.tp
