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

CHUNK = 8192
"""Tokens that a server reads at once from a prompt (vLLM's `max_num_batched_tokens` on large GPUs)."""

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

    low: weights, the cache and the smallest CUDA context. expected: also what reading a prompt needs. high: the cache
    as reserved, a fifth more for the weights, and a prompt read at once, as transformers' `generate` reads it.

    Raises:
        UsageError: a setting isn't possible.

    """
    check(how)
    held = _loaded(weights, how) / how.tp
    kept, unpacked = cache(blueprint, how), _unpacked(weights, how) / how.tp
    busy = working(blueprint, how, CHUNK) + unpacked
    whole = working(blueprint, how, how.batch_size * how.context_len) + unpacked
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


def _unpacked(weights: Sequence[Weight], how: Serving) -> float:
    """Return the bytes of the largest matrix in 16 bits: bitsandbytes unpacks one at a time to multiply by it.

    The kernels of other formats read packed numbers.
    """
    if how.quantize not in ("nf4", "nf4-dq") and (how.quantize != "none" or how.dtype != "int4"):
        return 0.0
    return 2.0 * max((w.parameters / w.copies for w in weights if w.linear), default=0)


def working(blueprint: Blueprint, how: Serving, most: int) -> float:
    """Return the bytes that reading a prompt needs, of at most `most` tokens at once.

    These are one layer's vectors of them in 16 bits, and fp32 logits.
    """
    tokens = min(how.batch_size * how.context_len, most)
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
