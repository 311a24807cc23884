"""What serving a model takes: its weights, and the cache of keys and values."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from accel_estimate.blueprint import Attention, Blueprint, Layer
from accel_estimate.bytesize import GIB
from accel_estimate.dtypes import TORCH_BYTES
from accel_estimate.errors import UsageError
from accel_estimate.precision import loaded_bytes
from accel_estimate.weights import Weight

PAGE = 16
"""Tokens in a page of the cache (vLLM's default `block_size`)."""

CHUNK = 8192
"""Tokens that a server takes in at once while it reads the prompt (vLLM's `max_num_batched_tokens` on large GPUs)."""

CONTEXT = (0.3 * GIB, 0.8 * GIB, 1.3 * GIB)
"""CUDA context and kernels; see `training.CONTEXT`."""

ALLOCATION = 1.2
"""What may come on top of weights in inference: up to 20 % (EleutherAI, "Transformer Math 101", and Accelerate's
documentation of this command)."""

_FAR = 2**26


class Serving(NamedTuple):
    """How a model is served: `context_len` tokens for each of `batch_size` sequences at once.

    `kv_dtype` is the type of the cache; `dtype` of the weights, "stored" for as the files hold them.
    """

    context_len: int = 4096
    batch_size: int = 1
    kv_dtype: str = "bfloat16"
    dtype: str = "stored"
    tp: int = 1


class Cache(NamedTuple):
    """Bytes of the cache on one device. `reserved`: in whole pages, sliding windows at full length (as vLLM does)."""

    used: float
    reserved: float


class Estimate(NamedTuple):
    """The memory of one device, in bytes."""

    low: float
    expected: float
    high: float
    weights: float
    cache: Cache
    working: float


def estimate(weights: Sequence[Weight], plan: Blueprint, how: Serving) -> Estimate:
    """Estimate what serving takes.

    low: weights, the cache and the smallest CUDA context. expected: with what reading a prompt needs. high: the cache
    as reserved, and a fifth more for the rest.

    Raises:
        UsageError: a setting cannot be.

    """
    _check(how)
    size = sum(w.nbytes for w in weights) if how.dtype == "stored" else loaded_bytes(weights, how.dtype)
    held = size / how.tp
    kept, busy = cache(plan, how), working(plan, how)
    return Estimate(
        held + kept.used + CONTEXT[0],
        held + kept.used + busy + CONTEXT[1],
        ALLOCATION * held + kept.reserved + busy + CONTEXT[2],
        held,
        kept,
        busy,
    )


def _check(how: Serving) -> None:
    for name in ("context_len", "batch_size", "tp"):
        if getattr(how, name) < 1:
            raise UsageError(f"--{name}: must be at least 1, not {getattr(how, name)}.")
    if how.kv_dtype not in TORCH_BYTES:
        raise UsageError(f"--kv_dtype: {how.kv_dtype!r} is none of {', '.join(TORCH_BYTES)}.")


def cache(plan: Blueprint, how: Serving) -> Cache:
    """Count the cache of one device.

    An attention layer keeps a key and a value for every token: 2 k d numbers, k/tp heads but one at least. A sliding
    window keeps its last tokens only. Latent attention keeps `kv_rank + rope_dim` numbers, whole on every device
    (DeepSeek-V2, arXiv 2405.04434, section 2.1). Cross-attention keeps those of the encoder's tokens. A state-space
    layer keeps a state in fp32 and the last inputs of its convolution, however long the sequence is.
    """
    used = reserved = 0.0
    if plan.causal:
        for layer in plan.decoder.layers:
            one = _layer(layer, plan, how)
            used, reserved = used + one.used, reserved + one.reserved
    return Cache(used * how.batch_size, reserved * how.batch_size)


def _layer(layer: Layer, plan: Blueprint, how: Serving) -> Cache:
    used = reserved = 0.0
    width, length = TORCH_BYTES[how.kv_dtype], how.context_len
    pages = -(-length // PAGE) * PAGE
    if layer.attention:
        one = _numbers(layer.attention, how.tp) * width
        window = layer.attention.window
        used += one * (min(window, length) if window else length)
        reserved += one * pages
    if layer.cross:
        one = _numbers(layer.cross, how.tp) * width * (plan.encoder_tokens or length)
        used, reserved = used + one, reserved + one
    if layer.space:
        state = layer.space.inner * (4 * layer.space.state + width * layer.space.conv) / how.tp
        used, reserved = used + state, reserved + state
    return Cache(used, reserved)


def _numbers(it: Attention, tp: int) -> float:
    if it.kv_rank:
        return it.kv_rank + it.rope_dim
    heads = max(1, it.kv_heads / tp)
    return heads * (it.head_dim + it.value_dim)


def working(plan: Blueprint, how: Serving) -> float:
    """Give what reading a prompt needs: one layer's vectors of a chunk of tokens in 16 bits, and fp32 logits."""
    tokens = min(how.batch_size * how.context_len, CHUNK)
    widest = 0
    for layer in plan.layers():
        inner = 3 * layer.mlp.width if layer.mlp else 0
        if layer.experts:
            inner = 3 * (layer.experts.active * layer.experts.width + layer.experts.shared)
        attention = layer.attention
        around = 2 * attention.query_width + attention.key_width + attention.value_width if attention else 0
        space = 4 * layer.space.inner if layer.space else 0
        widest = max(widest, inner, around, space)
    return tokens * 2 * (3 * plan.hidden + widest / how.tp) + how.batch_size * plan.vocab * 4


def longest_context(weights: Sequence[Weight], plan: Blueprint, how: Serving, limit: float) -> int:
    """Give the longest context that is expected to fit in `limit` bytes; 0 when not even one token does.

    It is not bounded by what the model was trained for; see `Blueprint.positions`.
    """
    return _largest(lambda n: estimate(weights, plan, how._replace(context_len=n)).expected <= limit)


def largest_batch(weights: Sequence[Weight], plan: Blueprint, how: Serving, limit: float) -> int:
    """Give the largest batch that is expected to fit in `limit` bytes; 0 when not even one sequence does."""
    return _largest(lambda n: estimate(weights, plan, how._replace(batch_size=n)).expected <= limit)


def _largest(fits: Callable[[int], bool]) -> int:
    """Find the largest number that fits, by doubling and halving; what is needed only grows with it."""
    if not fits(1):
        return 0
    high = 2
    while high < _FAR and fits(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
