"""Decoders built like Llama: RMSNorm, rotary positions, grouped queries, a gated MLP."""

from __future__ import annotations

from functools import partial

from accel_estimate.model.blueprint import Blueprint, Layer, Mlp, Stack
from accel_estimate.model.families.blocks import attention, decoder, windows
from accel_estimate.model.families.family import Family

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from accel_estimate.model.families.config_json import ConfigJson


def read(  # noqa: PLR0913 - the ways in which families differ, given by name
    config: ConfigJson,
    *,
    bias: bool | None = None,
    head_norms: bool = False,
    tied: bool = False,
    norms: int = 2,
    full_every: int = 0,
) -> Blueprint:
    """Return the blueprint of Llama, or of a family that differs in these settings only.

    `bias`: of queries, keys and values, whatever `attention_bias` is set to. `tied`: the default of
    `tie_word_embeddings`. `full_every`: see `blocks.windows`.
    """
    both = config.flag("attention_bias")
    mlp = Mlp(
        config.count("intermediate_size", default=4 * config.count("hidden_size")), bias=config.flag("mlp_bias")
    )
    heads = partial(
        attention,
        config,
        bias=both if bias is None else bias,
        out_bias=both and bias is None,
        head_norms=head_norms,
    )
    layers = [
        Layer(heads(window=window), mlp=mlp, norms=norms)
        for window in windows(config, config.layers("num_hidden_layers"), full_every=full_every)
    ]
    return decoder(config, layers, tied=config.flag("tie_word_embeddings", default=tied))


def _gemma(config: ConfigJson, *, softcap: bool = False, **more: Any) -> Blueprint:
    """Read Gemma: its RMSNorm stays in fp32 throughout."""
    caps = softcap and config.values.get("attn_logit_softcapping", 50.0) is not None
    blueprint = _changed(read(config, tied=True, **more), norm="gemma", softcap=caps, eager=softcap)
    return blueprint.replace(
        moved=1 if more else 0,
        softcap=config.values.get("final_logit_softcapping", 30.0 if softcap else None) is not None,
    )


def _granite(config: ConfigJson) -> Blueprint:
    return read(config).replace(moved=1)


def _phi3(config: ConfigJson) -> Blueprint:
    blueprint = _changed(read(config), fused=True, copied=True)
    layers = tuple(it.replace(mlp=it.mlp and it.mlp.replace(fused=True)) for it in blueprint.decoder.layers)
    return blueprint.replace(decoder=Stack(blueprint.decoder.prefix, layers))


def _changed(blueprint: Blueprint, norm: Any = None, **of_attention: bool) -> Blueprint:
    layers = tuple(
        layer.replace(norm=norm or layer.norm, attention=layer.attention and layer.attention.replace(**of_attention))
        for layer in blueprint.decoder.layers
    )
    return blueprint.replace(decoder=Stack(blueprint.decoder.prefix, layers))


_LLAMA = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}
_QWEN = {**_LLAMA, "intermediate_size": 22016, "vocab_size": 151936, "max_position_embeddings": 32768}
_gemma3 = partial(_gemma, norms=4, head_norms=True, full_every=6)

FAMILIES: Mapping[str, Family] = {
    "llama": Family(
        read,
        {**_LLAMA, "intermediate_size": 11008, "vocab_size": 32000, "max_position_embeddings": 2048},
    ),
    "mistral": Family(
        read,
        {
            **_LLAMA, "intermediate_size": 14336, "num_key_value_heads": 8, "vocab_size": 32000,
            "max_position_embeddings": 131072, "sliding_window": 4096,
        },
    ),
    "ministral": Family(read),
    "smollm3": Family(read),
    "granite": Family(_granite),
    "qwen2": Family(partial(read, bias=True), _QWEN),
    "qwen3": Family(partial(read, head_norms=True), {**_QWEN, "head_dim": 128}),
    "gemma": Family(
        _gemma,
        {
            "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28, "num_attention_heads": 16,
            "num_key_value_heads": 16, "head_dim": 256, "vocab_size": 256000, "max_position_embeddings": 8192,
        },
    ),
    "gemma2": Family(
        partial(_gemma, softcap=True, norms=4, full_every=2),
        {
            "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
            "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 256000, "max_position_embeddings": 8192,
            "sliding_window": 4096,
        },
    ),
    "gemma3": Family(_gemma3),
    "gemma3_text": Family(
        _gemma3,
        {
            "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
            "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208, "max_position_embeddings": 131072,
            "sliding_window": 4096,
        },
        gguf="gemma3",
    ),
    "phi3": Family(
        _phi3,
        {
            "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32, "num_attention_heads": 32,
            "vocab_size": 32064, "max_position_embeddings": 4096,
        },
    ),
}  # fmt: skip
