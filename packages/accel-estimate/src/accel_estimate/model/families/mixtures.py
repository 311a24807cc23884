"""Decoders whose MLP is a mixture of experts."""

from __future__ import annotations

from functools import partial

from accel_estimate.model.blueprint import NAMES, Attention, Blueprint, Experts, Layer, Mlp
from accel_estimate.model.families.blocks import attention, decoder, windows
from accel_estimate.model.families.config_json import MOST_EXPERTS
from accel_estimate.model.families.family import Family

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_estimate.model.families.config_json import ConfigJson


def _mixtral(config: ConfigJson) -> Blueprint:
    experts = Experts(
        config.count("num_local_experts", default=8, most=MOST_EXPERTS),
        config.count("num_experts_per_tok", default=2),
        config.count("intermediate_size"),
        wide_weights=True,
        adapts=True,
    )
    layers = [
        Layer(attention(config, window=window), experts=experts)
        for window in windows(config, config.layers("num_hidden_layers"))
    ]
    names = NAMES | {"experts": "block_sparse_moe.experts", "router": "block_sparse_moe.gate"}
    return decoder(config, layers, tied=config.flag("tie_word_embeddings"), names=names)


def _qwen_moe(config: ConfigJson, *, bias: bool, head_norms: bool, shared: bool) -> Blueprint:
    experts = Experts(
        config.count("num_experts", "num_local_experts", most=MOST_EXPERTS),
        config.count("num_experts_per_tok"),
        config.count("moe_intermediate_size"),
        shared=config.count("shared_expert_intermediate_size", default=0) if shared else 0,
        shared_gate=shared,
        adapts=not shared,
    )
    dense, step = config.list("mlp_only_layers"), config.count("decoder_sparse_step", default=1) or 1
    heads = attention(config, bias=bias, head_norms=head_norms)
    sparse, plain = Layer(heads, experts=experts), Layer(heads, mlp=Mlp(config.count("intermediate_size")))
    count = config.layers("num_hidden_layers")
    layers = [plain if i in dense or (i + 1) % step else sparse for i in range(count)]
    return decoder(config, layers, tied=config.flag("tie_word_embeddings"))


def _deepseek(config: ConfigJson) -> Blueprint:
    """Read DeepSeek-V2 and V3: latent attention, and many small experts with a shared one."""
    rope, heads = config.count("qk_rope_head_dim"), config.count("num_attention_heads")
    latent = Attention(
        heads,
        heads,
        config.count("qk_nope_head_dim") + rope,
        config.count("v_head_dim"),
        kv_rank=config.count("kv_lora_rank"),
        rope_dim=rope,
        q_rank=config.count("q_lora_rank", default=0),
    )
    width = config.count("moe_intermediate_size")
    experts = Experts(
        config.count("n_routed_experts", most=MOST_EXPERTS),
        config.count("num_experts_per_tok"),
        width,
        shared=width * config.count("n_shared_experts", default=0),
        wide_router=True,
        wide_weights=True,
        adapts=True,
    )
    sparse, plain = Layer(latent, experts=experts), Layer(latent, mlp=Mlp(config.count("intermediate_size")))
    dense, count = config.count("first_k_dense_replace", default=0), config.layers("num_hidden_layers")
    layers = [plain if i < dense else sparse for i in range(count)]
    names = NAMES | {"shared": "mlp.shared_experts"}
    return decoder(config, layers, tied=config.flag("tie_word_embeddings"), names=names)


def _gpt_oss(config: ConfigJson) -> Blueprint:
    experts = Experts(
        config.count("num_local_experts", most=MOST_EXPERTS),
        config.count("num_experts_per_tok"),
        config.count("intermediate_size"),
        bias=True,
        stacked=True,
    )
    layers = [
        Layer(
            attention(config, bias=True, out_bias=True, sinks=True, eager=True, window=window),
            experts=experts,
            norm="gemma",
        )
        for window in windows(config, config.layers("num_hidden_layers"), full_every=2)
    ]
    names = NAMES | {"router": "mlp.router"}
    return decoder(config, layers, tied=config.flag("tie_word_embeddings"), names=names)


FAMILIES: Mapping[str, Family] = {
    "mixtral": Family(
        _mixtral,
        {
            "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "intermediate_size": 14336,
            "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 131072,
        },
    ),
    "qwen2_moe": Family(partial(_qwen_moe, bias=True, head_norms=False, shared=True), gguf="qwen2moe"),
    "qwen3_moe": Family(
        partial(_qwen_moe, bias=False, head_norms=True, shared=False),
        {
            "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 24, "num_attention_heads": 32,
            "num_key_value_heads": 4, "vocab_size": 151936, "max_position_embeddings": 32768, "num_experts": 128,
            "num_experts_per_tok": 8, "moe_intermediate_size": 768,
        },
        gguf="qwen3moe",
    ),
    "deepseek_v2": Family(_deepseek),
    "deepseek_v3": Family(_deepseek),
    "kimi_k2": Family(_deepseek),
    "gpt_oss": Family(_gpt_oss, gguf="gpt-oss"),
}  # fmt: skip
