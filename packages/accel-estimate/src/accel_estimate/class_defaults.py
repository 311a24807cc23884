"""What a language model inside a larger one is where its config doesn't say.

transformers saves of a nested config only what differs from its class's defaults, so the `text_config` of LLaVA or of
Gemma 3 is hardly more than the family's name. Numbers: src/transformers/models/*/configuration_*.py, held against the
library in the tests.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_LLAMA = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}
_QWEN = {**_LLAMA, "intermediate_size": 22016, "vocab_size": 151936, "max_position_embeddings": 32768}

CLASS_DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "llama": {**_LLAMA, "intermediate_size": 11008, "vocab_size": 32000, "max_position_embeddings": 2048},
        "mistral": {
            **_LLAMA, "intermediate_size": 14336, "num_key_value_heads": 8, "vocab_size": 32000,
            "max_position_embeddings": 131072, "sliding_window": 4096,
        },
        "mixtral": {
            **_LLAMA, "intermediate_size": 14336, "num_key_value_heads": 8, "vocab_size": 32000,
            "max_position_embeddings": 131072,
        },
        "qwen2": _QWEN,
        "qwen3": {**_QWEN, "head_dim": 128},
        "qwen3_moe": {
            "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 24, "num_attention_heads": 32,
            "num_key_value_heads": 4, "vocab_size": 151936, "max_position_embeddings": 32768, "num_experts": 128,
            "num_experts_per_tok": 8, "moe_intermediate_size": 768,
        },
        "gemma": {
            "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28, "num_attention_heads": 16,
            "num_key_value_heads": 16, "head_dim": 256, "vocab_size": 256000, "max_position_embeddings": 8192,
        },
        "gemma2": {
            "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
            "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 256000, "max_position_embeddings": 8192,
            "sliding_window": 4096,
        },
        "gemma3_text": {
            "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
            "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208, "max_position_embeddings": 131072,
            "sliding_window": 4096,
        },
        "phi3": {
            "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32, "num_attention_heads": 32,
            "vocab_size": 32064, "max_position_embeddings": 4096,
        },
        "opt": {
            "hidden_size": 768, "ffn_dim": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
            "vocab_size": 50272, "max_position_embeddings": 2048,
        },
        "t5": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "vocab_size": 32128},
    }
)  # fmt: skip
