"""From a config.json to a blueprint: one short function a family, and a table of them.

Keys, defaults and shapes are those of `transformers` (src/transformers/models/*/configuration_*.py and
modeling_*.py); each family's parameter count is held against the library's own in the tests.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

from accel_estimate.blueprint import (
    NAMES,
    Attention,
    Blueprint,
    Experts,
    Layer,
    Mlp,
    NormKind,
    Stack,
    StateSpace,
)
from accel_estimate.class_defaults import CLASS_DEFAULTS
from accel_estimate.errors import CorruptFileError

_LARGEST = 2**40
_MOST_LAYERS = 4096
_MOST_EXPERTS = 4096

Shape = tuple[str, tuple[int, ...]]


class Settings:
    """A config.json whose values are checked as they are asked for."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        """Take the parsed JSON."""
        self.values = values

    def count(self, *keys: str, default: int | None = None, most: int = _LARGEST) -> int:
        """Give the first of `keys` that is set, as a whole number from 0 to `most`.

        Raises:
            CorruptFileError: none is set and there is no default, or the value cannot be.

        """
        for key in keys:
            value = self.values.get(key)
            if value is not None:
                if type(value) is not int or not 0 <= value <= most:
                    raise CorruptFileError(f"config.json: {key} = {value!r} cannot be.")
                return value
        if default is None:
            raise CorruptFileError(f"config.json: {keys[0]} is missing.")
        return default

    def layers(self, *keys: str, default: int | None = None) -> int:
        """Give a number of layers, which may not be absurd."""
        return self.count(*keys, default=default, most=_MOST_LAYERS)

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Give a boolean."""
        value = self.values.get(key)
        return default if value is None else bool(value)

    def text(self, key: str, default: str = "") -> str:
        """Give a string."""
        value = self.values.get(key)
        return value if isinstance(value, str) else default

    def list(self, key: str) -> list[Any]:
        """Give a list, empty when it is not set."""
        value = self.values.get(key)
        return cast("list[Any]", value) if isinstance(value, list) else []

    def entries(self, key: str) -> int:
        """Give how many entries a mapping has, 0 when it is not set."""
        value = self.values.get(key)
        return len(cast("dict[Any, Any]", value)) if isinstance(value, dict) else 0


def blueprint(config: Mapping[str, Any]) -> Blueprint | None:
    """Read a config.json; None when its family is not known and it does not look like a plain decoder either.

    A model of several parts (an image encoder before a language model) is read by its `text_config`, which leaves out
    what is usual for its class.

    Raises:
        CorruptFileError: a value is missing or cannot be.

    """
    for key in ("text_config", "llm_config", "language_config"):
        nested: Any = config.get(key)
        if isinstance(nested, dict) and nested.get("model_type"):  # pyright: ignore[reportUnknownMemberType]
            usual = CLASS_DEFAULTS.get(str(nested["model_type"]), {})  # pyright: ignore[reportUnknownArgumentType]
            config = {**usual, "tie_word_embeddings": config.get("tie_word_embeddings"), **nested}
            break
    settings = Settings(config)
    family = settings.text("model_type")
    if family in FAMILIES:
        return FAMILIES[family](settings)._replace(family=family)
    if all(config.get(key) for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")):
        return _llama(settings)._replace(family=family or "unknown", guessed=True)
    return None


def _heads(c: Settings, *, bias: bool = False, head_norms: bool = False, window: int = 0, **more: Any) -> Attention:
    hidden, heads = c.count("hidden_size"), c.count("num_attention_heads")
    if heads == 0:
        raise CorruptFileError("config.json: num_attention_heads = 0 cannot be.")
    width = c.count("head_dim", default=hidden // heads)
    return Attention(
        heads,
        c.count("num_key_value_heads", default=heads),
        width,
        width,
        window=window,
        bias=bias,
        head_norms=head_norms,
        **more,
    )


# Every so many layers, one attends to everything (`sliding_window_pattern` where config.json says it).
_PATTERNS = {"gemma2": 2, "gpt_oss": 2, "gemma3": 6, "gemma3_text": 6}


def _windows(c: Settings, layers: int) -> list[int]:
    """Give each layer's sliding window, 0 for full attention."""
    window, family = c.count("sliding_window", default=0), c.text("model_type")
    if types := c.list("layer_types"):
        return [window if types[i % len(types)] == "sliding_attention" else 0 for i in range(layers)]
    if family.startswith("qwen"):  # their first layers attend to everything, and by default all do
        full = c.count("max_window_layers", default=28) if c.flag("use_sliding_window") else layers
        return [window if i >= full else 0 for i in range(layers)]
    if c.values.get("use_sliding_window") is False:
        return [0] * layers
    if pattern := c.count("sliding_window_pattern", default=_PATTERNS.get(family, 0)):
        return [0 if (i + 1) % pattern == 0 else window for i in range(layers)]
    return [window] * layers


def _ends(c: Settings, hidden: int, *, tied: bool, norm: NormKind = "rms") -> tuple[Shape, ...]:
    vocab = c.count("vocab_size")
    extras: list[Shape] = [("model.embed_tokens.weight", (vocab, hidden)), ("model.norm.weight", (hidden,))]
    if norm == "layer":
        extras.append(("model.norm.bias", (hidden,)))
    if not tied:
        extras.append(("lm_head.weight", (vocab, hidden)))
    return tuple(extras)


def _decoder(c: Settings, layers: list[Layer], *, tied: bool, **more: Any) -> Blueprint:
    hidden = c.count("hidden_size")
    norm: NormKind = layers[0].norm if layers else "rms"
    return Blueprint(
        "",
        hidden,
        c.count("vocab_size"),
        Stack("model.layers", tuple(layers)),
        extras=_ends(c, hidden, tied=tied, norm=norm),
        tied=tied,
        positions=c.count("max_position_embeddings", default=0),
        **more,
    )


def _llama(
    c: Settings, *, bias: bool | None = None, head_norms: bool = False, tied: bool = False, norms: int = 2
) -> Blueprint:
    """Read the family of Llama: RMSNorm, rotary positions, grouped queries, SwiGLU."""
    both = c.flag("attention_bias")
    hidden = c.count("hidden_size")
    mlp = Mlp(c.count("intermediate_size", default=4 * hidden), bias=c.flag("mlp_bias"))
    layers = [
        Layer(_heads(c, bias=both if bias is None else bias, out_bias=both and bias is None, head_norms=head_norms,
                     window=window), mlp=mlp, norms=norms)
        for window in _windows(c, c.layers("num_hidden_layers"))
    ]  # fmt: skip
    return _decoder(c, layers, tied=c.flag("tie_word_embeddings", default=tied))


def _qwen2(c: Settings) -> Blueprint:
    return _llama(c, bias=True)


def _qwen3(c: Settings) -> Blueprint:
    return _llama(c, head_norms=True)


def _gemma(c: Settings) -> Blueprint:
    return _as_gemma(_llama(c, tied=True))


def _gemma2(c: Settings) -> Blueprint:
    softcap = c.values.get("attn_logit_softcapping", 50.0) is not None
    return _as_gemma(_llama(c, tied=True, norms=4), softcap=softcap)


def _gemma3(c: Settings) -> Blueprint:
    return _as_gemma(_llama(c, tied=True, norms=4, head_norms=True))


def _as_gemma(plan: Blueprint, *, softcap: bool = False) -> Blueprint:
    layers = tuple(
        layer._replace(norm="gemma", attention=layer.attention and layer.attention._replace(softcap=softcap))
        for layer in plan.decoder.layers
    )
    return plan._replace(decoder=Stack(plan.decoder.prefix, layers))


def _phi3(c: Settings) -> Blueprint:
    plan = _llama(c)
    layers = tuple(
        layer._replace(attention=layer.attention and layer.attention._replace(fused=True))
        for layer in plan.decoder.layers
    )
    return plan._replace(decoder=Stack("model.layers", layers))


def _mixtral(c: Settings) -> Blueprint:
    experts = Experts(
        c.count("num_local_experts", default=8, most=_MOST_EXPERTS),
        c.count("num_experts_per_tok", default=2),
        c.count("intermediate_size"),
    )
    layers = [Layer(_heads(c, window=w), experts=experts) for w in _windows(c, c.layers("num_hidden_layers"))]
    names = NAMES | {"experts": "block_sparse_moe.experts", "router": "block_sparse_moe.gate"}
    return _decoder(c, layers, tied=c.flag("tie_word_embeddings"), names=names)


def _qwen_moe(c: Settings, *, bias: bool, head_norms: bool, shared: bool) -> Blueprint:
    experts = Experts(
        c.count("num_experts", "num_local_experts", most=_MOST_EXPERTS),
        c.count("num_experts_per_tok"),
        c.count("moe_intermediate_size"),
        shared=c.count("shared_expert_intermediate_size", default=0) if shared else 0,
        shared_gate=shared,
    )
    dense, step = c.list("mlp_only_layers"), c.count("decoder_sparse_step", default=1) or 1
    attention = _heads(c, bias=bias, head_norms=head_norms)
    sparse, plain = Layer(attention, experts=experts), Layer(attention, mlp=Mlp(c.count("intermediate_size")))
    layers = [plain if i in dense or (i + 1) % step else sparse for i in range(c.layers("num_hidden_layers"))]
    return _decoder(c, layers, tied=c.flag("tie_word_embeddings"))


def _qwen2_moe(c: Settings) -> Blueprint:
    return _qwen_moe(c, bias=True, head_norms=False, shared=True)


def _qwen3_moe(c: Settings) -> Blueprint:
    return _qwen_moe(c, bias=False, head_norms=True, shared=False)


def _deepseek(c: Settings) -> Blueprint:
    """Read DeepSeek-V2 and V3: latent attention, and many small experts beside a shared one."""
    rope, value = c.count("qk_rope_head_dim"), c.count("v_head_dim")
    heads = c.count("num_attention_heads")
    attention = Attention(
        heads,
        heads,
        c.count("qk_nope_head_dim") + rope,
        value,
        kv_rank=c.count("kv_lora_rank"),
        rope_dim=rope,
        q_rank=c.count("q_lora_rank", default=0),
    )
    width = c.count("moe_intermediate_size")
    experts = Experts(
        c.count("n_routed_experts", most=_MOST_EXPERTS),
        c.count("num_experts_per_tok"),
        width,
        shared=width * c.count("n_shared_experts", default=0),
    )
    plain = Layer(attention, mlp=Mlp(c.count("intermediate_size")))
    dense = c.count("first_k_dense_replace", default=0)
    layers = [plain if i < dense else Layer(attention, experts=experts) for i in range(c.layers("num_hidden_layers"))]
    return _decoder(c, layers, tied=c.flag("tie_word_embeddings"), names=NAMES | {"shared": "mlp.shared_experts"})


def _gpt_oss(c: Settings) -> Blueprint:
    experts = Experts(
        c.count("num_local_experts", most=_MOST_EXPERTS),
        c.count("num_experts_per_tok"),
        c.count("intermediate_size"),
        bias=True,
        stacked=True,
    )
    layers = [
        Layer(_heads(c, bias=True, out_bias=True, sinks=True, window=w), experts=experts)
        for w in _windows(c, c.layers("num_hidden_layers"))
    ]
    return _decoder(c, layers, tied=c.flag("tie_word_embeddings"), names=NAMES | {"router": "mlp.router"})


_GPT2_NAMES = NAMES | {
    "qkv": "attn.c_attn",
    "o": "attn.c_proj",
    "up": "mlp.c_fc",
    "down": "mlp.c_proj",
    "norm": "ln_{}",
}


def _gpt2(c: Settings) -> Blueprint:
    hidden, vocab = c.count("n_embd"), c.count("vocab_size")
    heads, positions = c.count("n_head"), c.count("n_positions", "n_ctx")
    attention = Attention(
        heads,
        heads,
        hidden // max(heads, 1),
        hidden // max(heads, 1),
        bias=True,
        out_bias=True,
        fused=True,
        rotary=False,
    )
    mlp = Mlp(c.count("n_inner", default=4 * hidden), gated=False, bias=True, activation="gelu_new")
    layer = Layer(attention, mlp=mlp, norm="layer", dropout=_drops(c, "resid_pdrop", 0.1))
    extras: tuple[Shape, ...] = (
        ("wte.weight", (vocab, hidden)),
        ("wpe.weight", (positions, hidden)),
        ("ln_f.weight", (hidden,)),
        ("ln_f.bias", (hidden,)),
    )
    return Blueprint(
        "",
        hidden,
        vocab,
        Stack("h", (layer,) * c.layers("n_layer")),
        extras=extras,
        tied=True,
        positions=positions,
        names=_GPT2_NAMES,
    )


def _drops(c: Settings, key: str, default: float) -> bool:
    value = c.values.get(key)
    return (default if value is None else value) not in (0, 0.0)


def _neox(c: Settings) -> Blueprint:
    hidden, vocab = c.count("hidden_size"), c.count("vocab_size")
    attention = _heads(
        c, bias=c.flag("attention_bias", default=True), fused=True, out_bias=c.flag("attention_bias", default=True)
    )
    layer = Layer(
        attention, mlp=Mlp(c.count("intermediate_size"), gated=False, bias=True, activation="gelu"), norm="layer"
    )
    tied = c.flag("tie_word_embeddings")
    extras: list[Shape] = [
        ("gpt_neox.embed_in.weight", (vocab, hidden)),
        ("gpt_neox.final_layer_norm.weight", (hidden,)),
        ("gpt_neox.final_layer_norm.bias", (hidden,)),
    ]
    names = NAMES | {
        "qkv": "attention.query_key_value",
        "o": "attention.dense",
        "up": "mlp.dense_h_to_4h",
        "down": "mlp.dense_4h_to_h",
    }
    return Blueprint(
        "",
        hidden,
        vocab,
        Stack("gpt_neox.layers", (layer,) * c.layers("num_hidden_layers")),
        extras=tuple(extras if tied else [*extras, ("embed_out.weight", (vocab, hidden))]),
        tied=tied,
        positions=c.count("max_position_embeddings", default=0),
        names=names,
    )


def _phi(c: Settings) -> Blueprint:
    layer = Layer(
        _heads(c, bias=True, out_bias=True),
        norms=1,
        norm="layer",
        mlp=Mlp(c.count("intermediate_size"), gated=False, bias=True, activation="gelu_new"),
    )
    names = NAMES | {"o": "self_attn.dense", "up": "mlp.fc1", "down": "mlp.fc2"}
    plan = _decoder(c, [layer] * c.layers("num_hidden_layers"), tied=c.flag("tie_word_embeddings"), names=names)
    return plan._replace(extras=(*plan.extras, ("lm_head.bias", (plan.vocab,))))


def _falcon(c: Settings) -> Blueprint:
    hidden, heads = c.count("hidden_size"), c.count("num_attention_heads")
    new = c.flag("new_decoder_architecture")
    grouped = c.count("num_kv_heads", default=heads) if new else (1 if c.flag("multi_query", default=True) else heads)
    width, bias = hidden // max(heads, 1), c.flag("bias")
    attention = Attention(heads, grouped, width, width, bias=bias, out_bias=bias, fused=True)
    norms = (
        c.count("num_ln_in_parallel_attn", default=2) if new else (1 if c.flag("parallel_attn", default=True) else 2)
    )
    layer = Layer(
        attention,
        mlp=Mlp(c.count("ffn_hidden_size", default=4 * hidden), gated=False, bias=bias, activation="gelu"),
        norms=norms,
        norm="layer",
    )
    names = NAMES | {
        "qkv": "self_attention.query_key_value",
        "o": "self_attention.dense",
        "up": "mlp.dense_h_to_4h",
        "down": "mlp.dense_4h_to_h",
    }
    return _decoder(
        c, [layer] * c.layers("num_hidden_layers"), tied=c.flag("tie_word_embeddings", default=True), names=names
    )


def _bloom(c: Settings) -> Blueprint:
    hidden, vocab, heads = c.count("hidden_size", "n_embed"), c.count("vocab_size"), c.count("n_head")
    width = hidden // max(heads, 1)
    layer = Layer(
        Attention(heads, heads, width, width, bias=True, out_bias=True, fused=True, rotary=False),
        norm="layer",
        mlp=Mlp(4 * hidden, gated=False, bias=True, activation="gelu_new"),
    )
    extras: tuple[Shape, ...] = (("word_embeddings.weight", (vocab, hidden)), *(
        (f"{name}.{kind}", (hidden,)) for name in ("word_embeddings_layernorm", "ln_f") for kind in ("weight", "bias")
    ))  # fmt: skip
    names = NAMES | {
        "qkv": "self_attention.query_key_value",
        "o": "self_attention.dense",
        "up": "mlp.dense_h_to_4h",
        "down": "mlp.dense_4h_to_h",
    }
    return Blueprint(
        "",
        hidden,
        vocab,
        Stack("h", (layer,) * c.layers("n_layer", "num_hidden_layers")),
        extras=extras,
        tied=True,
        names=names,
    )


def _opt(c: Settings) -> Blueprint:
    hidden, width = c.count("hidden_size"), c.count("word_embed_proj_dim", default=c.count("hidden_size"))
    vocab, positions = c.count("vocab_size"), c.count("max_position_embeddings")
    layer = Layer(
        _heads(c, bias=True, out_bias=True, rotary=False),
        norm="layer",
        dropout=_drops(c, "dropout", 0.1),
        mlp=Mlp(c.count("ffn_dim"), gated=False, bias=True, activation="relu"),
    )
    extras: list[Shape] = [
        ("embed_tokens.weight", (vocab, width)),
        ("embed_positions.weight", (positions + 2, hidden)),
    ]
    if width != hidden:
        extras += [("project_in.weight", (hidden, width)), ("project_out.weight", (width, hidden))]
    if c.flag("do_layer_norm_before", default=True):
        extras += [("final_layer_norm.weight", (hidden,)), ("final_layer_norm.bias", (hidden,))]
    names = NAMES | {"o": "self_attn.out_proj", "up": "fc1", "down": "fc2"}
    return Blueprint(
        "",
        hidden,
        vocab,
        Stack("decoder.layers", (layer,) * c.layers("num_hidden_layers")),
        extras=tuple(extras),
        tied=True,
        positions=positions,
        names=names,
    )


def _affine(name: str, out: int, into: int) -> tuple[Shape, Shape]:
    return (f"{name}.weight", (out, into)), (f"{name}.bias", (out,))


def _normed(name: str, width: int) -> tuple[Shape, Shape]:
    return (f"{name}.weight", (width,)), (f"{name}.bias", (width,))


_BERT_NAMES = NAMES | {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "o": "attention.output.dense", "up": "intermediate.dense", "down": "output.dense",
}  # fmt: skip


def _bert(c: Settings) -> Blueprint:
    """Read BERT and RoBERTa; with a head for masked words when `architectures` says so, else with the pooler."""
    hidden, vocab = c.count("hidden_size"), c.count("vocab_size")
    layer = Layer(
        _heads(c, bias=True, out_bias=True, rotary=False),
        norm="layer",
        dropout=_drops(c, "hidden_dropout_prob", 0.1),
        mlp=Mlp(c.count("intermediate_size"), gated=False, bias=True, activation="gelu"),
    )
    positions = c.count("max_position_embeddings", default=512)
    extras: list[Shape] = [
        ("embeddings.word_embeddings.weight", (vocab, hidden)),
        ("embeddings.position_embeddings.weight", (positions, hidden)),
        ("embeddings.token_type_embeddings.weight", (c.count("type_vocab_size", default=2), hidden)),
        *_normed("embeddings.LayerNorm", hidden),
    ]
    head = any("MaskedLM" in str(name) for name in c.list("architectures"))
    if head:
        extras += [
            *_affine("cls.predictions.transform.dense", hidden, hidden),
            *_normed("cls.predictions.transform.LayerNorm", hidden),
            ("cls.predictions.bias", (vocab,)),
        ]
    else:
        extras += _affine("pooler.dense", hidden, hidden)
    return Blueprint(
        "",
        hidden,
        vocab if head else 0,
        Stack("encoder.layer", (layer,) * c.layers("num_hidden_layers")),
        extras=tuple(extras),
        tied=head,
        positions=positions,
        names=_BERT_NAMES,
        causal=False,
    )


def _vit(c: Settings) -> Blueprint:
    hidden, size, patch = c.count("hidden_size"), c.count("image_size"), c.count("patch_size")
    patches = (size // max(patch, 1)) ** 2
    layer = Layer(
        _heads(c, bias=c.flag("qkv_bias", default=True), out_bias=True, rotary=False),
        norm="layer",
        mlp=Mlp(c.count("intermediate_size"), gated=False, bias=True, activation="gelu"),
    )
    classes = c.entries("id2label") or c.count("num_labels", default=2)
    extras: list[Shape] = [
        ("vit.embeddings.cls_token", (1, 1, hidden)),
        ("vit.embeddings.position_embeddings", (1, patches + 1, hidden)),
        (
            "vit.embeddings.patch_embeddings.projection.weight",
            (hidden, c.count("num_channels", default=3), patch, patch),
        ),
        ("vit.embeddings.patch_embeddings.projection.bias", (hidden,)),
        *_normed("vit.layernorm", hidden),
        *_affine("classifier", classes, hidden),
    ]
    return Blueprint(
        "",
        hidden,
        0,
        Stack("vit.encoder.layer", (layer,) * c.layers("num_hidden_layers")),
        extras=tuple(extras),
        encoder_tokens=patches + 1,
        names=_BERT_NAMES,
        causal=False,
    )


def _t5(c: Settings) -> Blueprint:
    hidden, heads, vocab = c.count("d_model"), c.count("num_heads"), c.count("vocab_size")
    attention = Attention(heads, heads, c.count("d_kv"), c.count("d_kv"), rotary=False)
    forward = c.text("feed_forward_proj", "relu")
    mlp = Mlp(
        c.count("d_ff"), gated=forward.startswith("gated"), activation="gelu_new" if "gelu" in forward else "relu"
    )
    layers = c.layers("num_layers")
    below, above = (c.layers("num_decoder_layers", default=layers), layers)
    dropout = _drops(c, "dropout_rate", 0.1)
    extras: list[Shape] = [("shared.weight", (vocab, hidden))]
    for side in ("encoder", "decoder"):
        extras += [
            (
                f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                (c.count("relative_attention_num_buckets", default=32), heads),
            ),
            (f"{side}.final_layer_norm.weight", (hidden,)),
        ]
    tied = c.flag("tie_word_embeddings", default=True)
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
    encoder = Layer(attention, mlp=mlp, dropout=dropout)
    decoder = Layer(attention, cross=attention, mlp=mlp, norms=3, dropout=dropout)
    return Blueprint(
        "",
        hidden,
        vocab,
        Stack("decoder.block", (decoder,) * below),
        Stack("encoder.block", (encoder,) * above),
        tuple(extras),
        tied=tied,
        names=names,
    )


def _whisper(c: Settings) -> Blueprint:
    hidden, vocab = c.count("d_model"), c.count("vocab_size")
    frames, positions = c.count("max_source_positions", default=1500), c.count("max_target_positions", default=448)

    def layer(side: str, *, cross: bool) -> Layer:
        heads = c.count(f"{side}_attention_heads")
        width = hidden // max(heads, 1)
        attention = Attention(heads, heads, width, width, bias=True, key_bias=False, out_bias=True, rotary=False)
        mlp = Mlp(c.count(f"{side}_ffn_dim"), gated=False, bias=True, activation="gelu")
        return Layer(attention, cross=attention if cross else None, mlp=mlp, norms=3 if cross else 2, norm="layer")

    extras: list[Shape] = [
        ("model.encoder.conv1.weight", (hidden, c.count("num_mel_bins", default=80), 3)),
        ("model.encoder.conv1.bias", (hidden,)),
        ("model.encoder.conv2.weight", (hidden, hidden, 3)),
        ("model.encoder.conv2.bias", (hidden,)),
        ("model.encoder.embed_positions.weight", (frames, hidden)),
        *_normed("model.encoder.layer_norm", hidden),
        ("model.decoder.embed_tokens.weight", (vocab, hidden)),
        ("model.decoder.embed_positions.weight", (positions, hidden)),
        *_normed("model.decoder.layer_norm", hidden),
    ]
    names = NAMES | {"o": "self_attn.out_proj", "up": "fc1", "down": "fc2"}
    return Blueprint(
        "",
        hidden,
        vocab,
        Stack("model.decoder.layers", (layer("decoder", cross=True),) * c.layers("decoder_layers")),
        Stack("model.encoder.layers", (layer("encoder", cross=False),) * c.layers("encoder_layers")),
        tuple(extras),
        tied=True,
        positions=positions,
        encoder_tokens=frames,
        names=names,
    )


def _mamba(c: Settings) -> Blueprint:
    hidden, vocab = c.count("hidden_size", "d_model"), c.count("vocab_size")
    rank = c.values.get("time_step_rank")
    space = StateSpace(
        c.count("intermediate_size", default=c.count("expand", default=2) * hidden),
        c.count("state_size", default=16),
        c.count("conv_kernel", default=4),
        rank if isinstance(rank, int) else -(-hidden // 16),
    )
    extras: list[Shape] = [("backbone.embeddings.weight", (vocab, hidden)), ("backbone.norm_f.weight", (hidden,))]
    tied = c.flag("tie_word_embeddings", default=True)
    if not tied:
        extras.append(("lm_head.weight", (vocab, hidden)))
    layer = Layer(space=space, norms=1)
    return Blueprint(
        "",
        hidden,
        vocab,
        Stack("backbone.layers", (layer,) * c.layers("num_hidden_layers", "n_layer")),
        extras=tuple(extras),
        tied=tied,
        names=NAMES | {"norm": "norm"},
    )


def _jamba(c: Settings) -> Blueprint:
    hidden = c.count("hidden_size")
    rank = c.values.get("mamba_dt_rank")
    space = StateSpace(
        c.count("mamba_expand", default=2) * hidden,
        c.count("mamba_d_state", default=16),
        c.count("mamba_d_conv", default=4),
        rank if isinstance(rank, int) else -(-hidden // 16),
        normed=True,
    )
    experts = Experts(
        c.count("num_experts", default=16, most=_MOST_EXPERTS),
        c.count("num_experts_per_tok", default=2),
        c.count("intermediate_size"),
    )
    at = c.count("attn_layer_period", default=8) or 1, c.count("attn_layer_offset", default=4)
    sparse = c.count("expert_layer_period", default=2) or 1, c.count("expert_layer_offset", default=1)

    def layer(index: int) -> Layer:
        attends, splits = index % at[0] == at[1], index % sparse[0] == sparse[1]
        return Layer(
            _heads(c) if attends else None,
            space=None if attends else space,
            experts=experts if splits else None,
            mlp=None if splits else Mlp(experts.width),
        )

    names = NAMES | {
        "space": "mamba",
        "experts": "feed_forward.experts",
        "router": "feed_forward.router",
        "gate": "feed_forward.gate_proj",
        "up": "feed_forward.up_proj",
        "down": "feed_forward.down_proj",
    }
    return _decoder(
        c, [layer(i) for i in range(c.layers("num_hidden_layers"))], tied=c.flag("tie_word_embeddings"), names=names
    )


FAMILIES: Mapping[str, Callable[[Settings], Blueprint]] = {
    "llama": _llama, "mistral": _llama, "ministral": _llama, "smollm3": _llama, "granite": _llama,
    "qwen2": _qwen2, "qwen3": _qwen3, "gemma": _gemma, "gemma2": _gemma2,
    "gemma3_text": _gemma3, "gemma3": _gemma3, "phi3": _phi3, "mixtral": _mixtral, "qwen2_moe": _qwen2_moe,
    "qwen3_moe": _qwen3_moe, "deepseek_v2": _deepseek, "deepseek_v3": _deepseek, "kimi_k2": _deepseek,
    "gpt_oss": _gpt_oss, "gpt2": _gpt2, "gpt_neox": _neox, "phi": _phi, "falcon": _falcon, "bloom": _bloom,
    "opt": _opt, "bert": _bert, "roberta": _bert, "xlm-roberta": _bert, "vit": _vit, "t5": _t5, "mt5": _t5,
    "whisper": _whisper, "mamba": _mamba, "falcon_mamba": _mamba, "jamba": _jamba,
}  # fmt: skip
