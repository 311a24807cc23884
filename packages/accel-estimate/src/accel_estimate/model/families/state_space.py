"""Decoders with state-space layers: Mamba, and Jamba, which mixes them with attention and experts."""

from __future__ import annotations

from accel_estimate.model.blueprint import NAMES, Blueprint, Experts, Layer, Mlp, Shape, Stack, StateSpace
from accel_estimate.model.families.blocks import attention, decoder
from accel_estimate.model.families.config_json import MOST_EXPERTS
from accel_estimate.model.families.family import Family

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_estimate.model.families.config_json import ConfigJson


def _rank(config: ConfigJson, key: str, hidden: int) -> int:
    """Return the rank of the step's projection; "auto" in a config is hidden / 16, rounded up."""
    return -(-hidden // 16) if config.values.get(key) == "auto" else config.count(key, default=-(-hidden // 16))


def _mamba(config: ConfigJson) -> Blueprint:
    hidden, vocab = config.count("hidden_size", "d_model"), config.count("vocab_size")
    space = StateSpace(
        config.count("intermediate_size", default=config.count("expand", default=2) * hidden),
        config.count("state_size", default=16),
        config.count("conv_kernel", default=4),
        _rank(config, "time_step_rank", hidden),
    )
    extras: list[Shape] = [("backbone.embeddings.weight", (vocab, hidden)), ("backbone.norm_f.weight", (hidden,))]
    tied = config.flag("tie_word_embeddings", default=True)
    if not tied:
        extras.append(("lm_head.weight", (vocab, hidden)))
    layer = Layer(space=space, norms=1)
    return Blueprint(
        "",
        hidden,
        vocab,
        Stack("backbone.layers", (layer,) * config.layers("num_hidden_layers", "n_layer")),
        extras=tuple(extras),
        tied=tied,
        names=NAMES | {"norm": "norm"},
        wide_sum=config.flag("residual_in_fp32", default=True),
        wide_logits=True,
        nested=True,
    )


def _jamba(config: ConfigJson) -> Blueprint:
    hidden = config.count("hidden_size")
    space = StateSpace(
        config.count("mamba_expand", default=2) * hidden,
        config.count("mamba_d_state", default=16),
        config.count("mamba_d_conv", default=4),
        _rank(config, "mamba_dt_rank", hidden),
        normed=True,
    )
    experts = Experts(
        config.count("num_experts", default=16, most=MOST_EXPERTS),
        config.count("num_experts_per_tok", default=2),
        config.count("intermediate_size"),
    )
    attends = config.count("attn_layer_period", default=8) or 1, config.count("attn_layer_offset", default=4)
    splits = config.count("expert_layer_period", default=2) or 1, config.count("expert_layer_offset", default=1)
    heads, mlp = attention(config), Mlp(experts.width)

    def layer(index: int) -> Layer:
        attending = index % attends[0] == attends[1]
        sparse = index % splits[0] == splits[1]
        return Layer(
            heads if attending else None,
            space=None if attending else space,
            experts=experts if sparse else None,
            mlp=None if sparse else mlp,
        )

    layers = [layer(index) for index in range(config.layers("num_hidden_layers"))]
    names = NAMES | {
        "space": "mamba",
        "experts": "feed_forward.experts",
        "router": "feed_forward.router",
        "gate": "feed_forward.gate_proj",
        "up": "feed_forward.up_proj",
        "down": "feed_forward.down_proj",
    }
    return decoder(config, layers, tied=config.flag("tie_word_embeddings"), names=names)


FAMILIES: Mapping[str, Family] = {
    "mamba": Family(_mamba),
    "falcon_mamba": Family(_mamba),
    "jamba": Family(_jamba),
}
