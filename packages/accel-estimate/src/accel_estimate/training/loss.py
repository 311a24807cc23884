"""What the logits and the loss of a language model take."""

from __future__ import annotations

from typing import Literal

from accel_estimate.training.versions import KEEPS_NARROW, SHIFTS_LABELS

IN_THE_MODEL = ("plain", "narrow")
"""Losses that a model of transformers works out itself, with its output."""

Loss = Literal["plain", "narrow", "compiled", "compiled_apart", "chunked", "compiled_chunks", "fused"]

_CHUNKS = 8
_FP32 = 4


Version = tuple[int, ...]
"""Numbers of a version of transformers."""


def output(width: int, how: Loss, version: Version) -> int:
    """Return the bytes of a logit in the model's output."""
    if how not in IN_THE_MODEL:
        return 0
    return _FP32 if how == "plain" and version < KEEPS_NARROW else width


def forward(width: int, how: Loss, version: Version, *, several: bool) -> float:
    """Return the bytes of one logit at the peak of the forward pass.

    plain: those of the output, their fp32 copy and the log-softmax. Before 4.49 a pass of several sequences also
    copied the fp32 logits without each sequence's last. narrow: the logits and the log-softmax.
    """
    if how == "narrow":
        return 2 * width
    if how == "plain":
        out = output(width, how, version)
        return out + (_FP32 if out < _FP32 else 0) + _FP32 + (_FP32 if several and version < SHIFTS_LABELS else 0)
    return backward(width, how, version)


def backward(width: int, how: Loss, version: Version) -> float:
    """Return the bytes of one logit at the peak of the backward pass; `width` is that of a number in the head's type.

    plain: the logits (the model's output keeps them), the log-softmax, its gradient and the gradient of the fp32
    logits: 2 + 4 + 4 + 4 = 14 in 16 bits. narrow: without fp32, as in a loss that doesn't request it where nothing
    casts it (DeepSpeed): logits, log-softmax and two gradients. compiled: one kernel reads logits and writes their
    gradient. compiled_apart: the loss is compiled and the model isn't, so fp32 logits and their gradient exist beside
    the logits. compiled_chunks: logits, and one chunk of 8 in fp32. chunked (8 chunks, as torchtune does): logits and
    their gradient, the fp32 log-softmax of every chunk, and two fp32 gradients of one. fused (Liger's linear
    cross-entropy): only a chunk of the logits exists, of about as many numbers as the hidden states.
    """
    if how == "plain":
        return output(width, how, version) + 12
    if how == "narrow":
        return 4 * width
    if how == "compiled":
        return 2 * width
    if how == "compiled_apart":
        return width + 8
    if how == "compiled_chunks":
        return width + 4 / _CHUNKS
    if how == "chunked":
        return 2 * width + 4 + 8 / _CHUNKS
    return 0.0
