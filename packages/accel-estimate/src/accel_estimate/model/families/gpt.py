"""Decoders that came before Llama: LayerNorm, biases, a plain MLP; GPT-2, GPT-NeoX, Phi, Falcon, BLOOM, OPT."""

from __future__ import annotations

from accel_estimate.model.blueprint import NAMES, Attention, Blueprint, Layer, Mlp, Shape, Stack
from accel_estimate.model.families.blocks import attention, decoder, layer_norm
from accel_estimate.model.families.family import Family

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_estimate.model.families.config_json import ConfigJson

_MLP_NAMES = {"up": "mlp.dense_h_to_4h", "down": "mlp.dense_4h_to_h"}
_SELF_ATTENTION_NAMES = {"qkv": "self_attention.query_key_value", "o": "self_attention.dense"}


def _gpt2(config: ConfigJson) -> Blueprint:
    hidden, vocab = config.count("n_embd"), config.count("vocab_size")
    heads, positions = config.count("n_head"), config.count("n_positions", "n_ctx")
    width = hidden // max(heads, 1)
    layer = Layer(
        Attention(heads, heads, width, width, bias=True, out_bias=True, fused=True, rotary=False),
        mlp=Mlp(config.count("n_inner", default=4 * hidden), gated=False, bias=True, activation="gelu_new"),
        norm="layer",
        dropout=config.drops("resid_pdrop", 0.1),
    )
    names = {"qkv": "attn.c_attn", "o": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj", "norm": "ln_{}"}
    return Blueprint(
        "",
        hidden,
        vocab,
        Stack("h", (layer,) * config.layers("n_layer")),
        extras=(("wte.weight", (vocab, hidden)), ("wpe.weight", (positions, hidden)), *layer_norm("ln_f", hidden)),
        tied=True,
        masks=1 if config.drops("embd_pdrop", 0.1) else 0,
        moved=1,
        positions=positions,
        names=NAMES | names,
    )


def _neox(config: ConfigJson) -> Blueprint:
    hidden, vocab = config.count("hidden_size"), config.count("vocab_size")
    bias, tied = config.flag("attention_bias", default=True), config.flag("tie_word_embeddings")
    layer = Layer(
        attention(config, bias=bias, fused=True, out_bias=bias, copied=True),
        mlp=Mlp(config.count("intermediate_size"), gated=False, bias=True, activation="gelu"),
        norm="layer",
        parallel=config.flag("use_parallel_residual", default=True),
    )
    extras: list[Shape] = [
        ("gpt_neox.embed_in.weight", (vocab, hidden)),
        *layer_norm("gpt_neox.final_layer_norm", hidden),
    ]
    if not tied:
        extras.append(("embed_out.weight", (vocab, hidden)))
    names = {"qkv": "attention.query_key_value", "o": "attention.dense", **_MLP_NAMES}
    return Blueprint(
        "",
        hidden,
        vocab,
        Stack("gpt_neox.layers", (layer,) * config.layers("num_hidden_layers")),
        extras=tuple(extras),
        tied=tied,
        positions=config.count("max_position_embeddings", default=0),
        names=NAMES | names,
    )


def _phi(config: ConfigJson) -> Blueprint:
    layer = Layer(
        attention(config, bias=True, out_bias=True, copied=True),
        norms=1,
        norm="layer",
        mlp=Mlp(config.count("intermediate_size"), gated=False, bias=True, activation="gelu_new"),
    )
    layers = (layer,) * config.layers("num_hidden_layers")
    names = NAMES | {"o": "self_attn.dense", "up": "mlp.fc1", "down": "mlp.fc2"}
    blueprint = decoder(config, layers, tied=config.flag("tie_word_embeddings"), names=names)
    return blueprint.replace(extras=(*blueprint.extras, ("lm_head.bias", (blueprint.vocab,))))


def _falcon(config: ConfigJson) -> Blueprint:
    hidden, heads = config.count("hidden_size"), config.count("num_attention_heads")
    if config.flag("new_decoder_architecture"):
        kv_heads = config.count("num_kv_heads", default=heads)
        norms = config.count("num_ln_in_parallel_attn", default=2)
    else:
        kv_heads = 1 if config.flag("multi_query", default=True) else heads
        norms = 1 if config.flag("parallel_attn", default=True) else 2
    width, bias = hidden // max(heads, 1), config.flag("bias")
    mlp = Mlp(config.count("ffn_hidden_size", default=4 * hidden), gated=False, bias=bias, activation="gelu")
    layer = Layer(
        Attention(heads, kv_heads, width, width, bias=bias, out_bias=bias, fused=True, unfused=kv_heads < heads),
        mlp=mlp,
        norms=norms,
        norm="layer",
    )
    layers = (layer,) * config.layers("num_hidden_layers")
    names = NAMES | _SELF_ATTENTION_NAMES | _MLP_NAMES
    return decoder(config, layers, tied=config.flag("tie_word_embeddings", default=True), names=names)


def _bloom(config: ConfigJson) -> Blueprint:
    hidden, vocab = config.count("hidden_size", "n_embed"), config.count("vocab_size")
    heads = config.count("n_head")
    width = hidden // max(heads, 1)
    layer = Layer(
        Attention(heads, heads, width, width, bias=True, out_bias=True, fused=True, rotary=False, eager=True),
        norm="layer",
        mlp=Mlp(4 * hidden, gated=False, bias=True, activation="gelu_bloom"),
    )
    return Blueprint(
        "",
        hidden,
        vocab,
        Stack("h", (layer,) * config.layers("n_layer", "num_hidden_layers")),
        extras=(
            ("word_embeddings.weight", (vocab, hidden)),
            *layer_norm("word_embeddings_layernorm", hidden),
            *layer_norm("ln_f", hidden),
        ),
        tied=True,
        names=NAMES | _SELF_ATTENTION_NAMES | _MLP_NAMES,
    )


def _opt(config: ConfigJson) -> Blueprint:
    hidden = config.count("hidden_size")
    width = config.count("word_embed_proj_dim", default=hidden)
    vocab, positions = config.count("vocab_size"), config.count("max_position_embeddings")
    layer = Layer(
        attention(config, bias=True, out_bias=True, rotary=False),
        norm="layer",
        dropout=config.drops("dropout", 0.1),
        mlp=Mlp(config.count("ffn_dim"), gated=False, bias=True, activation="relu"),
    )
    extras: list[Shape] = [
        ("embed_tokens.weight", (vocab, width)),
        ("embed_positions.weight", (positions + 2, hidden)),
    ]
    if width != hidden:
        extras += [("project_in.weight", (hidden, width)), ("project_out.weight", (width, hidden))]
    if config.flag("do_layer_norm_before", default=True):
        extras += layer_norm("final_layer_norm", hidden)
    return Blueprint(
        "",
        hidden,
        vocab,
        Stack("decoder.layers", (layer,) * config.layers("num_hidden_layers")),
        extras=tuple(extras),
        tied=True,
        moved=1,
        positions=positions,
        names=NAMES | {"o": "self_attn.out_proj", "up": "fc1", "down": "fc2"},
    )


FAMILIES: Mapping[str, Family] = {
    "gpt2": Family(_gpt2),
    "gpt_neox": Family(_neox, gguf="gptneox"),
    "phi": Family(_phi, gguf="phi2"),
    "falcon": Family(_falcon),
    "bloom": Family(_bloom),
    "opt": Family(
        _opt,
        {
            "hidden_size": 768, "ffn_dim": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
            "vocab_size": 50272, "max_position_embeddings": 2048,
        },
    ),
}  # fmt: skip
