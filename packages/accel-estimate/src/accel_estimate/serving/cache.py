"""The cache of keys and values."""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.formats.dtypes import TORCH_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.model.blueprint import Attention, Blueprint, Layer
    from accel_estimate.serving.settings import Serving

PAGE = 16
"""Tokens in a page of the cache (vLLM's default `block_size`)."""


class Cache(Record):
    """Bytes of the cache on one device. `reserved`: in whole pages, sliding windows at full length, as in vLLM."""

    used: float
    reserved: float


def cache(blueprint: Blueprint, how: Serving) -> Cache:
    """Return the cache of one device.

    An attention layer keeps a key and a value for every token: 2 k d numbers, of k/tp heads but at least one. A
    sliding window keeps only its last tokens. Latent attention keeps `kv_rank + rope_dim` numbers, whole on every
    device (DeepSeek-V2, arXiv 2405.04434, section 2.1). Cross-attention keeps those of the encoder's tokens. A
    state-space layer keeps a state in fp32 and the last inputs of its convolution, for any length of the sequence.
    """
    used = reserved = 0.0
    if blueprint.causal:
        for layer in blueprint.decoder.layers:
            its_used, its_reserved = _layer(layer, blueprint, how)
            used, reserved = used + its_used, reserved + its_reserved
    return Cache(used * how.batch_size, reserved * how.batch_size)


def _layer(layer: Layer, blueprint: Blueprint, how: Serving) -> tuple[float, float]:
    """Return the used and the reserved bytes of one layer for one sequence."""
    used = reserved = 0.0
    width, length = TORCH_BYTES[how.kv_dtype], how.context_len
    pages = -(-length // PAGE) * PAGE
    if layer.attention:
        token = _numbers(layer.attention, how.tp) * width
        window = layer.attention.window
        used += token * (min(window, length) if window else length)
        reserved += token * pages
    if layer.cross:
        encoder = _numbers(layer.cross, how.tp) * width * (blueprint.encoder_tokens or length)
        used, reserved = used + encoder, reserved + encoder
    if layer.space:
        state = layer.space.inner * (4 * layer.space.state + width * layer.space.conv) / how.tp
        used, reserved = used + state, reserved + state
    return used, reserved


def _numbers(it: Attention, tp: int) -> float:
    """Return the cached numbers of a token."""
    if it.kv_rank:
        return it.kv_rank + it.rope_dim
    heads = max(1, it.kv_heads / tp)
    return heads * (it.head_dim + it.value_dim)
