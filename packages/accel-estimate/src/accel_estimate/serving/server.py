"""What a server takes on one device."""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.devices.runtime import context
from accel_estimate.model.sizes import loaded_bytes
from accel_estimate.serving.cache import Cache, cache
from accel_estimate.serving.settings import check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_estimate.model.blueprint import Blueprint
    from accel_estimate.model.weights import Weight
    from accel_estimate.serving.settings import Serving

ALLOCATION = 1.2
"""The factor for what may come on top of weights in inference: up to 20 % (EleutherAI, "Transformer Math 101", and
Accelerate's documentation of this command)."""


class ServingEstimate(Record):
    """The memory of one device, in bytes."""

    low: float
    expected: float
    high: float
    weights: float
    cache: Cache
    working: float


def estimate_serving(weights: Sequence[Weight], blueprint: Blueprint, how: Serving) -> ServingEstimate:
    """Return the memory of serving a model.

    low: weights, the cache and the smallest CUDA context. expected: also what reading prompts needs. high: the cache
    as reserved, a fifth more for the weights, and prompts read at once.

    Raises:
        UsageError: a setting isn't possible.

    """
    check(how)
    held = _loaded(weights, how) / how.tp
    kept, unpacked = cache(blueprint, how), _unpacked(weights, how) / how.tp
    busy = _busy(blueprint, how, kept) + unpacked
    whole = working(blueprint, how, how.prompts) + unpacked
    least, middle, most = context(how.card)
    return ServingEstimate(
        held + kept.used + least,
        held + kept.used + busy + middle,
        ALLOCATION * held + kept.reserved + whole + most,
        held,
        kept,
        busy,
    )


def _loaded(weights: Sequence[Weight], how: Serving) -> int:
    if how.quantize != "none":
        return loaded_bytes(weights, how.quantize)
    return sum(w.nbytes for w in weights) if how.dtype == "stored" else loaded_bytes(weights, how.dtype)


def _busy(blueprint: Blueprint, how: Serving, full: Cache) -> float:
    """Return what computing needs beside the full cache.

    While a server reads a part of a prompt, other sequences may be at their end. Where whole prompts are read at once
    (`generate` of transformers), all are, and the cache hasn't the answers yet.
    """
    if how.prefill_chunk:
        return working(blueprint, how, min(how.prompts, how.prefill_chunk))
    prompt = cache(blueprint, how.replace(context_len=how.prompts // how.batch_size)).used
    return max(working(blueprint, how, how.prompts) - (full.used - prompt), working(blueprint, how, how.batch_size))


def _unpacked(weights: Sequence[Weight], how: Serving) -> float:
    """Return the bytes of the largest matrix in 16 bits: bitsandbytes unpacks one at a time to multiply by it.

    The kernels of other formats read packed numbers.
    """
    if how.quantize not in ("nf4", "nf4-dq") and (how.quantize != "none" or how.dtype != "int4"):
        return 0.0
    return 2.0 * max((w.parameters / w.copies for w in weights if w.linear), default=0)


def working(blueprint: Blueprint, how: Serving, tokens: int) -> float:
    """Return the bytes that computing `tokens` needs: one layer's vectors in 16 bits, and fp32 logits."""
    widest = 0
    for layer in blueprint.layers():
        inner = 3 * layer.mlp.width if layer.mlp else 0
        if layer.experts:
            inner = 3 * (layer.experts.active * layer.experts.width + layer.experts.shared)
        attention = layer.attention
        around = 2 * attention.query_width + attention.key_width + attention.value_width if attention else 0
        space = 4 * layer.space.inner if layer.space else 0
        widest = max(widest, inner, around, space)
    return tokens * 2 * (3 * blueprint.hidden + widest / how.tp) + how.batch_size * blueprint.vocab * 4
