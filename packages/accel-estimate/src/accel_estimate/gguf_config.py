"""A GGUF file's own description of its model, said as a config.json."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from accel_estimate.tensors import Tensor

# GGUF key after the architecture's name -> key of config.json (docs/gguf.md, "LLM").
_KEYS = {
    "embedding_length": "hidden_size", "block_count": "num_hidden_layers", "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads", "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim", "context_length": "max_position_embeddings",
    "attention.sliding_window": "sliding_window", "expert_count": "num_local_experts",
    "expert_used_count": "num_experts_per_tok", "expert_feed_forward_length": "moe_intermediate_size",
    "vocab_size": "vocab_size",
}  # fmt: skip
_FAMILIES = {
    "qwen2moe": "qwen2_moe",
    "qwen3moe": "qwen3_moe",
    "gptneox": "gpt_neox",
    "phi2": "phi",
    "gpt-oss": "gpt_oss",
    "gemma3": "gemma3_text",
}


def as_config(config: Mapping[str, Any], tensors: Sequence[Tensor]) -> Mapping[str, Any]:
    """Translate the values that a GGUF header left under "gguf"; any other config comes back as it is."""
    values = config.get("gguf")
    if not isinstance(values, dict):
        return config
    known: dict[str, Any] = values  # pyright: ignore[reportUnknownVariableType]
    name = str(known.get("general.architecture", ""))
    found: dict[str, Any] = {"model_type": _FAMILIES.get(name, name)}
    for key, other in _KEYS.items():
        value = known.get(f"{name}.{key}")
        if isinstance(value, list) and value:
            value = max(cast("list[int]", value))  # one a layer: the widest is the safe one
        if isinstance(value, int) and not isinstance(value, bool):
            found[other] = value
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    if "token_embd.weight" in shapes:
        found["vocab_size"] = shapes["token_embd.weight"][0]
    found["tie_word_embeddings"] = "output.weight" not in shapes
    if "num_experts_per_tok" in found:
        found["num_experts"] = found["num_local_experts"]
        if name == "llama":
            found["model_type"] = "mixtral"
    return found
