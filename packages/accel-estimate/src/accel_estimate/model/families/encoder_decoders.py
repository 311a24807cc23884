"""Encoders with a decoder behind them: T5 for text, Whisper for speech."""

from __future__ import annotations

from accel_estimate.model.blueprint import NAMES, Attention, Blueprint, Layer, Mlp, Shape, Stack
from accel_estimate.model.families.blocks import layer_norm
from accel_estimate.model.families.family import Family

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_estimate.model.families.config_json import ConfigJson


def _t5(config: ConfigJson) -> Blueprint:
    hidden, heads, vocab = config.count("d_model"), config.count("num_heads"), config.count("vocab_size")
    width, forward = config.count("d_kv"), config.text("feed_forward_proj", "relu")
    attention = Attention(heads, heads, width, width, rotary=False, biased=True)
    activation = "gelu_new" if "gelu" in forward else "relu"
    layers, dropout = config.layers("num_layers"), config.drops("dropout_rate", 0.1)
    mlp = Mlp(config.count("d_ff"), gated=forward.startswith("gated"), activation=activation, dropout=dropout)
    buckets = config.count("relative_attention_num_buckets", default=32)
    extras: list[Shape] = [("shared.weight", (vocab, hidden))]
    for side in ("encoder", "decoder"):
        extras += [
            (f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight", (buckets, heads)),
            (f"{side}.final_layer_norm.weight", (hidden,)),
        ]
    tied = config.flag("tie_word_embeddings", default=True)
    if not tied:
        extras.append(("lm_head.weight", (vocab, hidden)))
    names = NAMES | {
        "q": "SelfAttention.q",
        "k": "SelfAttention.k",
        "v": "SelfAttention.v",
        "o": "SelfAttention.o",
        "cross": "EncDecAttention",
        "gate": "DenseReluDense.wi_0",
        "up": "DenseReluDense.wi_1" if mlp.gated else "DenseReluDense.wi",
        "down": "DenseReluDense.wo",
    }
    decoder = Layer(attention, cross=attention, mlp=mlp, norms=3, norm="t5", dropout=dropout)
    return Blueprint(
        "",
        hidden,
        vocab,
        Stack("decoder.block", (decoder,) * config.layers("num_decoder_layers", default=layers)),
        Stack("encoder.block", (Layer(attention, mlp=mlp, norm="t5", dropout=dropout),) * layers),
        tuple(extras),
        tied=tied,
        narrow_loss=True,
        vectors=1,
        masks=4 if dropout else 0,
        moved=2,
        names=names,
    )


def _whisper(config: ConfigJson) -> Blueprint:
    hidden, vocab = config.count("d_model"), config.count("vocab_size")
    frames = config.count("max_source_positions", default=1500)
    positions = config.count("max_target_positions", default=448)

    def stack(side: str, *, cross: bool) -> Stack:
        heads = config.count(f"{side}_attention_heads")
        width = hidden // max(heads, 1)
        attention = Attention(
            heads, heads, width, width, bias=True, key_bias=False, out_bias=True, rotary=False, copied=True
        )
        mlp = Mlp(config.count(f"{side}_ffn_dim"), gated=False, bias=True, activation="gelu")
        layer = Layer(attention, cross=attention if cross else None, mlp=mlp, norms=3 if cross else 2, norm="layer")
        return Stack(f"model.{side}.layers", (layer,) * config.layers(f"{side}_layers"))

    extras: list[Shape] = [
        ("model.encoder.conv1.weight", (hidden, config.count("num_mel_bins", default=80), 3)),
        ("model.encoder.conv1.bias", (hidden,)),
        ("model.encoder.conv2.weight", (hidden, hidden, 3)),
        ("model.encoder.conv2.bias", (hidden,)),
        ("model.encoder.embed_positions.weight", (frames, hidden)),
        *layer_norm("model.encoder.layer_norm", hidden),
        ("model.decoder.embed_tokens.weight", (vocab, hidden)),
        ("model.decoder.embed_positions.weight", (positions, hidden)),
        *layer_norm("model.decoder.layer_norm", hidden),
    ]
    return Blueprint(
        "",
        hidden,
        vocab,
        stack("decoder", cross=True),
        stack("encoder", cross=False),
        tuple(extras),
        tied=True,
        narrow_loss=True,
        positions=positions,
        encoder_tokens=frames,
        frozen="model.encoder.embed_positions.weight",
        names=NAMES | {"o": "self_attn.out_proj", "up": "fc1", "down": "fc2"},
    )


FAMILIES: Mapping[str, Family] = {
    "t5": Family(
        _t5,
        {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "vocab_size": 32128},
    ),
    "mt5": Family(_t5),
    "whisper": Family(_whisper),
}
