"""Encoders: BERT and its relatives for text, ViT for images."""

from __future__ import annotations

from accel_estimate.model.blueprint import NAMES, Blueprint, Layer, Mlp, Shape, Stack
from accel_estimate.model.families.blocks import affine, attention, layer_norm
from accel_estimate.model.families.family import Family

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_estimate.model.families.config_json import ConfigJson

_NAMES = NAMES | {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "o": "attention.output.dense", "up": "intermediate.dense", "down": "output.dense",
}  # fmt: skip


def _bert(config: ConfigJson) -> Blueprint:
    """Read BERT and RoBERTa: with the head for masked words if `architectures` names it, else with the pooler."""
    hidden, vocab = config.count("hidden_size"), config.count("vocab_size")
    layer = Layer(
        attention(config, bias=True, out_bias=True, rotary=False),
        norm="layer",
        dropout=config.drops("hidden_dropout_prob", 0.1),
        mlp=Mlp(config.count("intermediate_size"), gated=False, bias=True, activation="gelu"),
    )
    positions = config.count("max_position_embeddings", default=512)
    extras: list[Shape] = [
        ("embeddings.word_embeddings.weight", (vocab, hidden)),
        ("embeddings.position_embeddings.weight", (positions, hidden)),
        ("embeddings.token_type_embeddings.weight", (config.count("type_vocab_size", default=2), hidden)),
        *layer_norm("embeddings.LayerNorm", hidden),
    ]
    head = any("MaskedLM" in str(name) for name in config.list("architectures"))
    if head:
        extras += [
            *affine("cls.predictions.transform.dense", hidden, hidden),
            *layer_norm("cls.predictions.transform.LayerNorm", hidden),
            ("cls.predictions.bias", (vocab,)),
        ]
    else:
        extras += affine("pooler.dense", hidden, hidden)
    return Blueprint(
        "",
        hidden,
        vocab if head else 0,
        Stack("encoder.layer", (layer,) * config.layers("num_hidden_layers")),
        extras=tuple(extras),
        tied=head,
        narrow_loss=True,
        vectors=1 if head else 0,
        narrow_vectors=2 if head else 0,
        moved=1,
        masks=1 if layer.dropout else 0,
        positions=positions,
        names=_NAMES,
        causal=False,
        norms_stream=True,
    )


def _vit(config: ConfigJson) -> Blueprint:
    hidden, patch = config.count("hidden_size"), config.count("patch_size")
    patches = (config.count("image_size") // max(patch, 1)) ** 2
    layer = Layer(
        attention(config, bias=config.flag("qkv_bias", default=True), out_bias=True, rotary=False),
        norm="layer",
        mlp=Mlp(config.count("intermediate_size"), gated=False, bias=True, activation="gelu"),
    )
    classes = config.entries("id2label") or config.count("num_labels", default=2)
    projection = (hidden, config.count("num_channels", default=3), patch, patch)
    extras: list[Shape] = [
        ("vit.embeddings.cls_token", (1, 1, hidden)),
        ("vit.embeddings.position_embeddings", (1, patches + 1, hidden)),
        ("vit.embeddings.patch_embeddings.projection.weight", projection),
        ("vit.embeddings.patch_embeddings.projection.bias", (hidden,)),
        *layer_norm("vit.layernorm", hidden),
        *affine("classifier", classes, hidden),
    ]
    return Blueprint(
        "",
        hidden,
        0,
        Stack("vit.encoder.layer", (layer,) * config.layers("num_hidden_layers")),
        extras=tuple(extras),
        encoder_tokens=patches + 1,
        names=_NAMES,
        causal=False,
    )


FAMILIES: Mapping[str, Family] = {
    "bert": Family(_bert),
    "roberta": Family(_bert),
    "xlm-roberta": Family(_bert),
    "vit": Family(_vit),
}
