"""Parts that many families have in common: attention, windows, embeddings, a plain decoder."""

from __future__ import annotations

from accel_estimate.model.blueprint import Attention, Blueprint, Layer, NormKind, Shape, Stack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from accel_estimate.model.families.config_json import ConfigJson


def attention(
    config: ConfigJson, *, bias: bool = False, head_norms: bool = False, window: int = 0, **more: Any
) -> Attention:
    """Return grouped-query attention under the keys that most families use.

    Raises:
        CorruptFileError: a value is missing or impossible.

    """
    hidden, heads = config.count("hidden_size"), config.heads("num_attention_heads")
    width = config.count("head_dim", default=hidden // heads)
    kv_heads = config.count("num_key_value_heads", default=heads)
    return Attention(heads, kv_heads, width, width, window=window, bias=bias, head_norms=head_norms, **more)


def windows(config: ConfigJson, layers: int, *, full_every: int = 0) -> list[int]:
    """Return the sliding window of each layer in tokens, 0 for full attention.

    `full_every` n: the family's n-th, 2n-th, ... layer has full attention unless config.json sets another
    `sliding_window_pattern`.
    """
    window = config.count("sliding_window", default=0)
    if types := config.list("layer_types"):
        return [window if types[i % len(types)] == "sliding_attention" else 0 for i in range(layers)]
    if config.text("model_type").startswith("qwen"):  # their first layers have full attention, and by default all
        full = config.count("max_window_layers", default=28) if config.flag("use_sliding_window") else layers
        return [window if i >= full else 0 for i in range(layers)]
    if config.values.get("use_sliding_window") is False:
        return [0] * layers
    if pattern := config.count("sliding_window_pattern", default=full_every):
        return [0 if (i + 1) % pattern == 0 else window for i in range(layers)]
    return [window] * layers


def decoder(config: ConfigJson, layers: Sequence[Layer], *, tied: bool, **more: Any) -> Blueprint:
    """Return a decoder whose tensors outside the layers are named like Llama's.

    Raises:
        CorruptFileError: a value is missing or impossible.

    """
    hidden, vocab = config.count("hidden_size"), config.count("vocab_size")
    norm: NormKind = layers[0].norm if layers else "rms"
    extras: list[Shape] = [("model.embed_tokens.weight", (vocab, hidden)), ("model.norm.weight", (hidden,))]
    if norm == "layer":
        extras.append(("model.norm.bias", (hidden,)))
    if not tied:
        extras.append(("lm_head.weight", (vocab, hidden)))
    positions = config.count("max_position_embeddings", default=0)
    stack = Stack("model.layers", tuple(layers))
    return Blueprint("", hidden, vocab, stack, extras=tuple(extras), tied=tied, positions=positions, **more)


def affine(name: str, out: int, into: int) -> tuple[Shape, Shape]:
    """Return the shapes of a linear layer with a bias: [out, into] and [out]."""
    return (f"{name}.weight", (out, into)), (f"{name}.bias", (out,))


def layer_norm(name: str, width: int) -> tuple[Shape, Shape]:
    """Return the shapes of a LayerNorm: its weight and its bias."""
    return (f"{name}.weight", (width,)), (f"{name}.bias", (width,))
