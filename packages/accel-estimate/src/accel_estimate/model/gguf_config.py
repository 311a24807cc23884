"""A GGUF file's own description of its model, translated into a config.json."""

from __future__ import annotations

from accel_estimate.model.families import FAMILIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from accel_estimate.formats.tensors import Tensor

# GGUF key after the architecture's name -> key of config.json (docs/gguf.md, "LLM").
_KEYS = {
    "embedding_length": "hidden_size", "block_count": "num_hidden_layers", "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads", "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim", "context_length": "max_position_embeddings",
    "attention.sliding_window": "sliding_window", "expert_count": "num_local_experts",
    "expert_used_count": "num_experts_per_tok", "expert_feed_forward_length": "moe_intermediate_size",
    "vocab_size": "vocab_size",
}  # fmt: skip


def translated(values: Mapping[str, Any], tensors: Sequence[Tensor]) -> Mapping[str, Any]:
    """Return the config.json of a GGUF header's values."""
    name = str(values.get("general.architecture", ""))
    families = {family.gguf: model_type for model_type, family in FAMILIES.items() if family.gguf}
    found: dict[str, Any] = {"model_type": families.get(name, name)}
    for key, other in _KEYS.items():
        value = values.get(f"{name}.{key}")
        if isinstance(value, list) and value:
            value = max(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - one a layer: the widest is safe
        if isinstance(value, int) and not isinstance(value, bool):
            found[other] = value
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    if shapes.get("token_embd.weight"):
        found["vocab_size"] = shapes["token_embd.weight"][0]
    found["tie_word_embeddings"] = "output.weight" not in shapes
    if "num_experts_per_tok" in found:
        found["num_experts"] = found["num_local_experts"]
        if name == "llama":
            found["model_type"] = "mixtral"
    return found
