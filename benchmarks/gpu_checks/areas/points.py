"""The points of memory: models as configurations, without weights, and how each is trained or served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_estimate import Recipe


def _decoder(kind: str, shape: tuple[int, int, int, int, int, int], **more: Any) -> dict[str, Any]:
    names = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "vocab_size",
    )
    return {"model_type": kind, **dict(zip(names, shape, strict=True)), "max_position_embeddings": 8192, **more}


_TIED = {"tie_word_embeddings": True}
_ENCODER = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
MODELS: Mapping[str, Mapping[str, Any]] = {
    "gpt2 0.1B": {
        "model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257,
    },
    "llama 0.1B": _decoder("llama", (768, 2048, 12, 12, 4, 32000), **_TIED),
    "bert 0.3B": {
        **_ENCODER, "model_type": "bert", "architectures": ["BertForMaskedLM"], "vocab_size": 30522,
        "max_position_embeddings": 512,
    },
    "vit 0.3B": {
        **_ENCODER, "model_type": "vit", "architectures": ["ViTForImageClassification"], "image_size": 224,
        "patch_size": 16,
    },
    "t5 0.2B": {
        "model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_model": 768, "d_ff": 3072, "d_kv": 64,
        "num_layers": 12, "num_decoder_layers": 12, "num_heads": 12, "vocab_size": 32128,
    },
    "qwen2 0.5B": _decoder("qwen2", (896, 4864, 24, 14, 2, 151936), **_TIED),
    "mixtral 0.7B": _decoder("mixtral", (1024, 2816, 12, 16, 4, 32000), num_local_experts=6, num_experts_per_tok=2),
    "llama 1B": _decoder("llama", (2048, 8192, 16, 32, 8, 128256), head_dim=64, **_TIED),
    "gemma2 2B": _decoder("gemma2", (2304, 9216, 26, 8, 4, 256000), head_dim=256, sliding_window=4096),
    "llama 3B": _decoder("llama", (3072, 8192, 28, 24, 8, 128256), head_dim=128, **_TIED),
    "llama 8B": _decoder("llama", (4096, 14336, 32, 32, 8, 128256), tie_word_embeddings=False),
    "tiny": _decoder("llama", (128, 384, 2, 8, 2, 500)),
}  # fmt: skip


class Point(NamedTuple):
    """A model and the settings of a `Recipe` or of `Serving`; ``name`` is what the table calls it."""

    name: str
    model: str
    settings: Mapping[str, Any]


def recipe(point: Point) -> Recipe:
    """Return how a point is trained."""
    from accel_estimate import Recipe

    settings: dict[str, Any] = {**point.settings, "lora_targets": tuple(point.settings.get("lora_targets", ()))}
    return Recipe(**settings)


def _points(table: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Point]:
    return {
        name: Point(name, model, settings)
        for model, ways in table.items()
        for how, settings in ways.items()
        for name in [f"{model}, {how}"]
    }


_BF16 = {"param_dtype": "bfloat16"}
_CAST = {"mixed_precision": "bf16"}
_FULL = {"gradient_checkpointing": "full"}
_FUSED = {"optimizer_form": "fused"}


def _of(batch: int, length: int, *parts: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"batch_size": batch, "seq_len": length, **{key: one[key] for one in parts for key in one}, **more}


def _served(*shapes: tuple[int, int]) -> dict[str, dict[str, int]]:
    return {f"{batch} x {length}": {"batch_size": batch, "context_len": length} for batch, length in shapes}


TRAINING = _points({
    "gpt2 0.1B": {"fp32, 4 x 1024": _of(4, 1024), "autocast, 8 x 1024": _of(8, 1024, _CAST)},
    "llama 0.1B": {
        "fp32, 1 x 512": _of(1, 512),
        "fp32, 8 x 1024": _of(8, 1024),
        "bf16, 16 x 1024": _of(16, 1024, _BF16),
        "bf16, eager attention, 4 x 1024": _of(4, 1024, _BF16, attention="eager"),
        "fp16 by autocast, 8 x 1024": _of(8, 1024, mixed_precision="fp16"),
        "SGD, 4 x 512": _of(4, 512, optimizer="sgd"),
        "AdamW one by one, 1 x 128": _of(1, 128, optimizer_form="plain"),
    },
    "bert 0.3B": {"fp32, 8 x 512": _of(8, 512), "autocast, checkpointed, 32 x 512": _of(32, 512, _CAST, _FULL)},
    "vit 0.3B": {"autocast, 32 x 197": _of(32, 197, _CAST)},
    "t5 0.2B": {"fp32, 8 x 512": _of(8, 512)},
    "qwen2 0.5B": {
        "fp32, 1 x 1024": _of(1, 1024),
        "autocast, 4 x 2048": _of(4, 2048, _CAST),
        "bf16, 4 x 4096": _of(4, 4096, _BF16),
        "bf16, checkpointed, 8 x 2048": _of(8, 2048, _BF16, _FULL),
        "bf16, fused AdamW, 2 x 2048": _of(2, 2048, _BF16, _FUSED),
    },
    "mixtral 0.7B": {"bf16, 4 x 1024": _of(4, 1024, _BF16)},
    "llama 1B": {
        "fp32, 1 x 1024": _of(1, 1024),
        "autocast, 2 x 2048": _of(2, 2048, _CAST),
        "bf16, 4 x 2048": _of(4, 2048, _BF16),
        "bf16, 1 x 8192": _of(1, 8192, _BF16),
        "bf16, checkpointed, 8 x 2048": _of(8, 2048, _BF16, _FULL),
        "bf16, selectively checkpointed, 4 x 2048": _of(4, 2048, _BF16, gradient_checkpointing="selective"),
        "autocast, accumulated, 2 x 1024": _of(2, 1024, _CAST, gradient_accumulation=2),
        "LoRA of 16, 4 x 2048": _of(4, 2048, _BF16, lora_rank=16),
        "LoRA of q and v, 8 x 1024": _of(8, 1024, _BF16, lora_rank=8, lora_targets=["q_proj", "v_proj"]),
    },
    "gemma2 2B": {"bf16, checkpointed, 2 x 2048": _of(2, 2048, _BF16, _FULL)},
    "llama 3B": {
        "bf16, 2 x 2048": _of(2, 2048, _BF16),
        "autocast, checkpointed, fused AdamW, 1 x 2048": _of(1, 2048, _CAST, _FULL, _FUSED),
        "LoRA of 16, checkpointed, 8 x 2048": _of(8, 2048, _BF16, _FULL, lora_rank=16),
    },
    "llama 8B": {
        "bf16, SGD, 1 x 2048": _of(1, 2048, _BF16, optimizer="sgd"),
        "bf16, checkpointed, fused AdamW, 1 x 2048": _of(1, 2048, _BF16, _FULL, _FUSED),
        "LoRA of 16, 1 x 2048": _of(1, 2048, _BF16, lora_rank=16),
        "LoRA of 64, checkpointed, 4 x 4096": _of(4, 4096, _BF16, _FULL, lora_rank=64),
    },
})  # fmt: skip
"""In the order in which they run: small ones first, since a run out of time keeps what it has."""

SERVING = _points({
    "gpt2 0.1B": _served((8, 1024)),
    "qwen2 0.5B": _served((1, 8192), (16, 2048)),
    "llama 1B": _served((8, 4096)),
    "llama 3B": _served((4, 8192)),
    "llama 8B": _served((1, 2048), (8, 4096)),
})  # fmt: skip

TINY_TRAINING = _points(
    {"tiny": {"autocast, checkpointed, 2 x 64": _of(2, 64, _CAST, _FULL, gradient_accumulation=2)}}
)
TINY_SERVING = _points({"tiny": _served((2, 64))})
"""What a rehearsal runs on the CPU."""
ALL = {**TRAINING, **SERVING, **TINY_TRAINING, **TINY_SERVING}
