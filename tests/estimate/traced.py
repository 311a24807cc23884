"""What torch's own tracker counts of a step on real tensors of the CPU, and small models to count."""

from collections.abc import Mapping
from typing import Any

SMALL: Mapping[str, Mapping[str, Any]] = {
    "llama": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 128, "intermediate_size": 384,
              "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 500,
              "max_position_embeddings": 512, "tie_word_embeddings": False},
    "gpt2": {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 128, "n_layer": 3, "n_head": 4,
             "n_positions": 512, "vocab_size": 500},
    "bert": {"model_type": "bert", "architectures": ["BertForMaskedLM"], "hidden_size": 128, "intermediate_size": 384,
             "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 500},
    "t5": {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_model": 128, "d_ff": 384, "d_kv": 32,
           "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4, "vocab_size": 500},
    "vit": {"model_type": "vit", "architectures": ["ViTForImageClassification"], "hidden_size": 128,
            "intermediate_size": 384, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 64,
            "patch_size": 8},
}  # fmt: skip


def counted(family: str, recipe: Any) -> int:
    """The peak that `MemTracker` tells of the same steps on real tensors."""
    import torch
    from torch.distributed._tools import mem_tracker

    from accel_estimate.tracing import building, groups, optimizers, paths, step

    torch.manual_seed(0)
    origin = building.Origin(family, SMALL[family])
    config = building.configured(origin, recipe)
    model = building.build(origin, config, recipe)
    building.materialize(model)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter.data, std=0.02)
    tracker: Any = mem_tracker.MemTracker()
    with building.not_packed(), paths.of_the_device(), groups.processes(recipe) as mesh:
        buckets = groups.distribute(model, recipe, mesh)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = optimizers.make(trained, recipe)
        tracker.track_external(model, *buckets)
        with tracker:
            for _ in range(2):
                for left in reversed(range(min(recipe.gradient_accumulation, 2))):
                    groups.before_a_pass(model, reduces=left == 0 or recipe.sync_each_batch)
                    tracker.reset_mod_stats()
                    with step._precision(recipe):
                        outputs = model(**building.batch(config, model, recipe))
                    outputs.loss.backward()
                optimizer.step()
                optimizer.zero_grad()
    peak = tracker.get_tracker_snapshot("peak")
    return max(sum(v for k, v in parts.items() if k == "Total") for parts in peak.values())
