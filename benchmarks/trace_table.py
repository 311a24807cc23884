"""Make the table that the formulas are held to: the memory of traced training steps, family by family.

    uv run --group hf python benchmarks/trace_table.py [--family llama,t5] [--recipe fp32] [--again]
    uv run --group hf python benchmarks/trace_table.py --apart SEED

Points that the table has aren't traced again, so a run that was stopped goes on; `--again` traces them anew.
The table is tests/estimate/measured/traced.json; `python -m tests.estimate.held` prints how far the formulas are off.
`--apart` draws other models, batches and lengths, into apart.json beside it: no formula was shaped on these.
"""

import argparse
import gc
import importlib
import json
import random
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accel_estimate.errors import EstimateError
from accel_estimate.training.recipe import Recipe

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
TABLE = ROOT / "tests" / "estimate" / "measured" / "traced.json"
APART = TABLE.with_name("apart.json")

_USUAL = {
    "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 4, "num_attention_heads": 16,
    "num_key_value_heads": 4, "vocab_size": 8000, "max_position_embeddings": 4096,
}  # fmt: skip
_OLD = {key: value for key, value in _USUAL.items() if key != "num_key_value_heads"} | {"intermediate_size": 4096}
_MIXED = {**_USUAL, "moe_intermediate_size": 704, "num_experts": 8, "num_experts_per_tok": 2}
_LATENT = {
    **_USUAL, "num_key_value_heads": 16, "moe_intermediate_size": 704, "num_experts_per_tok": 2,
    "q_lora_rank": 384, "kv_lora_rank": 256, "qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "v_head_dim": 64,
    "n_routed_experts": 8, "n_shared_experts": 1, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
}  # fmt: skip
_T5 = {"d_model": 1024, "d_ff": 2816, "d_kv": 64, "num_layers": 2, "num_heads": 16, "vocab_size": 8000}
CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "llama": {**_USUAL, "num_hidden_layers": 8, "tie_word_embeddings": False},
    "llama, wide vocabulary": {**_USUAL, "num_hidden_layers": 8, "vocab_size": 64000, "tie_word_embeddings": True},
    "llama, a key for each query": {**_USUAL, "num_key_value_heads": 16},
    "mistral": {**_USUAL, "sliding_window": 4096},
    "ministral": {**_USUAL, "sliding_window": 4096, "layer_types": ["full_attention"] * 4, "head_dim": 64},
    "smollm3": {**_USUAL, "tie_word_embeddings": True, "pad_token_id": 0},
    "granite": _USUAL,
    "qwen2": {**_USUAL, "tie_word_embeddings": True},
    "qwen3": {**_USUAL, "head_dim": 64},
    "gemma": {**_USUAL, "head_dim": 64},
    "gemma2": {**_USUAL, "head_dim": 64, "sliding_window": 4096},
    "gemma3_text": {**_USUAL, "head_dim": 64, "sliding_window": 4096},
    "phi3": {**_USUAL, "pad_token_id": 0},
    "mixtral": {**_USUAL, "num_local_experts": 4},
    "qwen2_moe": {**_MIXED, "shared_expert_intermediate_size": 1408},
    "qwen3_moe": {**_MIXED, "head_dim": 64},
    "deepseek_v2": {**_LATENT, "topk_method": "greedy"},
    "deepseek_v3": _LATENT,
    "gpt_oss": {**_USUAL, "head_dim": 64, "num_local_experts": 4, "num_experts_per_tok": 2},
    "gpt2": {"n_embd": 1024, "n_layer": 4, "n_head": 16, "n_positions": 4096, "vocab_size": 8000},
    "gpt_neox": _OLD,
    "phi": _OLD,
    "falcon": {**_OLD, "multi_query": True, "parallel_attn": True},
    "bloom": {"hidden_size": 1024, "n_layer": 4, "n_head": 16, "vocab_size": 8000},
    "opt": {**_OLD, "ffn_dim": 4096, "word_embed_proj_dim": 1024},
    "bert": {**_OLD, "architectures": ["BertForMaskedLM"]},
    "roberta": {**_OLD, "architectures": ["RobertaForMaskedLM"], "max_position_embeddings": 4098, "pad_token_id": 1},
    "xlm-roberta": {
        **_OLD, "architectures": ["XLMRobertaForMaskedLM"], "max_position_embeddings": 4098, "pad_token_id": 1,
    },
    "vit": {**_OLD, "image_size": 224, "patch_size": 16},
    "t5": _T5,
    "mt5": {**_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": True},
    "whisper": {
        "d_model": 512, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 8,
        "decoder_attention_heads": 8, "encoder_ffn_dim": 2048, "decoder_ffn_dim": 2048, "num_mel_bins": 80,
        "vocab_size": 8000, "max_target_positions": 4096,
        "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0,
    },
    "mamba": {"hidden_size": 1024, "num_hidden_layers": 4, "vocab_size": 8000, "tie_word_embeddings": True},
    "falcon_mamba": {"hidden_size": 1024, "num_hidden_layers": 4, "vocab_size": 8000, "tie_word_embeddings": False},
    "jamba": {
        **_USUAL, "attn_layer_period": 4, "attn_layer_offset": 2, "num_experts": 4, "num_experts_per_tok": 2,
        "tie_word_embeddings": False,
    },
}  # fmt: skip
"""Small models of every family that can be traced in seconds."""

_BF16: Mapping[str, Any] = {"param_dtype": "bfloat16"}
_CAST: Mapping[str, Any] = {"mixed_precision": "bf16"}
_FULL: Mapping[str, Any] = {"gradient_checkpointing": "full"}
_SHARDED: Mapping[str, Any] = {"fsdp": "full"}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "fp32": {"batch_size": 2, "seq_len": 1024},
    "bf16": {**_BF16, "batch_size": 8, "seq_len": 1024},
    "autocast": {**_CAST, "batch_size": 4, "seq_len": 2048},
    "checkpointed": {**_BF16, **_FULL, "batch_size": 8, "seq_len": 1024},
    "autocast checkpointed": {**_CAST, **_FULL, "batch_size": 4, "seq_len": 1024},
    "short": {"batch_size": 1, "seq_len": 64},
    "short fused": {"batch_size": 1, "seq_len": 64, "optimizer_form": "fused"},
    "short plain": {**_BF16, "batch_size": 1, "seq_len": 64, "optimizer_form": "plain"},
    "accumulated": {**_BF16, "batch_size": 2, "seq_len": 512, "gradient_accumulation": 2},
    "lora": {**_BF16, "batch_size": 4, "seq_len": 1024, "lora_rank": 16},
    "lora checkpointed": {**_CAST, **_FULL, "param_dtype": "bfloat16", "batch_size": 4, "lora_rank": 8},
    "fsdp of 8": {**_SHARDED, **_CAST, "num_processes": 8, "batch_size": 2, "seq_len": 1024},
    "fsdp of 2 checkpointed": {**_SHARDED, **_FULL, **_CAST, "num_processes": 2, "batch_size": 4, "seq_len": 1024},
    "fsdp of 8 accumulated": {
        **_SHARDED, **_FULL, **_CAST, "num_processes": 8, "seq_len": 512, "gradient_accumulation": 4,
    },
}  # fmt: skip
MORE: Mapping[str, Mapping[str, Any]] = {
    "eager": {**_BF16, "batch_size": 2, "seq_len": 1024, "attention": "eager"},
    "selective": {**_BF16, "gradient_checkpointing": "selective", "batch_size": 8, "seq_len": 1024},
    "fp16": {"mixed_precision": "fp16", "batch_size": 2, "seq_len": 1024},
    "sgd": {"optimizer": "sgd", "batch_size": 1, "seq_len": 256},
    "adafactor": {**_BF16, "optimizer": "adafactor", "batch_size": 1, "seq_len": 256},
    "lion": {"optimizer": "lion", "batch_size": 1, "seq_len": 128},
    "8-bit": {"optimizer": "adamw_8bit", "batch_size": 1, "seq_len": 128},
    "ddp": {"num_processes": 2, "batch_size": 1, "seq_len": 512},
    "lora of two": {**_BF16, "batch_size": 2, "lora_rank": 32, "lora_targets": ["q_proj", "v_proj"]},
    "lora in fp32": {"batch_size": 2, "seq_len": 512, "lora_rank": 8, "lora_dropout": 0.1},
    "fsdp grad_op": {"fsdp": "grad_op", **_CAST, "num_processes": 2, "batch_size": 1, "seq_len": 512},
    "fsdp hybrid": {"fsdp": "hybrid", **_CAST, "num_processes": 16, "batch_size": 1, "seq_len": 512},
    "fsdp in fp32": {**_SHARDED, "num_processes": 8, "batch_size": 1, "seq_len": 256},
    "fsdp of bf16 weights": {**_SHARDED, **_BF16, "num_processes": 2, "batch_size": 1, "seq_len": 256},
    "fsdp short": {**_SHARDED, **_CAST, "num_processes": 2, "batch_size": 1, "seq_len": 64},
    "long": {**_BF16, "batch_size": 1, "seq_len": 4096},
    "autocast accumulated": {**_CAST, "batch_size": 1, "seq_len": 1024, "gradient_accumulation": 4},
    "autocast lora": {**_CAST, "param_dtype": "bfloat16", "batch_size": 1, "seq_len": 512, "lora_rank": 128},
}
"""Further recipes, for the families of `WIDELY`."""
WIDELY = ("llama", "llama, wide vocabulary", "qwen2", "gemma2")


MIXERS: Mapping[str, Mapping[str, Any]] = {
    "lora of mixers": {**_BF16, "batch_size": 4, "lora_rank": 16, "lora_targets": ["in_proj", "x_proj"]},
    "long mixers": {**_BF16, "batch_size": 1, "seq_len": 6144},
    "selective mixers": {**_BF16, "gradient_checkpointing": "selective", "batch_size": 4, "seq_len": 1024},
    "fsdp of mixers in fp32": {**_SHARDED, "num_processes": 8, "batch_size": 1, "seq_len": 256},
}
"""Further recipes, for the families of `SPACES`: peft refuses adapters of all their linear layers."""
SPACES = ("mamba", "falcon_mamba", "jamba")


def recipe(settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe of settings as JSON has them."""
    values: dict[str, Any] = {**settings, "lora_targets": tuple(settings.get("lora_targets", ()))}
    return Recipe(**values)


_WIDTHS = ("hidden_size", "n_embd", "d_model", "word_embed_proj_dim")
_HEADS = ("num_attention_heads", "n_head", "num_heads", "encoder_attention_heads", "decoder_attention_heads")
_INNER = ("intermediate_size", "ffn_dim", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim", "moe_intermediate_size")
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "encoder_layers", "decoder_layers")


def drawn(config: Mapping[str, Any], dice: random.Random) -> dict[str, Any]:
    """Return another model of the same family; heads keep their width, and layers are alike."""
    heads, shared = dice.choice((8, 12, 20, 24)), dice.choice((2, 4))
    inner, layers = dice.choice((0.75, 1.25, 1.5)), dice.choice((2, 3, 5, 6))
    found: dict[str, Any] = {**config, "vocab_size": dice.choice((4096, 12000, 24000, 50272))}
    for key, value in config.items():
        if key in _WIDTHS:
            found[key] = 64 * heads
        elif key in _HEADS or (key == "num_key_value_heads" and value == config["num_attention_heads"]):
            found[key] = heads
        elif key == "num_key_value_heads":
            found[key] = shared
        elif key in _INNER:
            found[key] = round(inner * value)
        elif key in _LAYERS:
            found[key] = layers
    if "layer_types" in config:
        found["layer_types"] = ["full_attention"] * layers
    return found


def draw(seed: int) -> dict[str, Any]:
    """Return a table without points: a model or two of each family, each with a recipe of its own.

    State spaces aren't drawn: they came later, and a seed has its draw for good.
    """
    dice, table = random.Random(seed), dict[str, Any](models={}, recipes={}, points={})  # noqa: S311 - no secret
    families = [family for family in CONFIGS if family not in SPACES]
    for family in (*families, *dice.sample(families, len(families) // 2)):
        name = f"{family} ({'second' if f'{family} (first)' in table['models'] else 'first'})"
        kind = family.partition(",")[0]
        settings = dict({**RECIPES, **MORE}[how := dice.choice([*RECIPES, *RECIPES, *MORE])])
        if "lora_targets" in settings and "num_key_value_heads" not in CONFIGS[family]:
            settings = dict(RECIPES[how := "lora"])
        settings |= {"batch_size": dice.choice((1, 3, 6)), "seq_len": dice.choice((192, 640, 1536))}
        table["models"][name] = {"model_type": kind, **drawn(CONFIGS[family], dice)}
        table["recipes"][f"{how} of {name}"] = settings
    return table


def traced(family: str, config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what one point takes, in bytes, and the phase of its peak; or why it can't be traced."""
    step: Any = importlib.import_module("accel_estimate.tracing.step")
    building: Any = importlib.import_module("accel_estimate.tracing.building")
    allocator: Any = importlib.import_module("accel_estimate.tracing.allocator")
    try:
        tape = step.trace(building.Origin(family, config), recipe(settings)).tape
    except EstimateError as error:
        return {"why": str(error).replace(str(Path(sys.prefix)), "")}
    peak = max(tape.peaks(), key=lambda one: one.total)
    reserved = [allocator.replay(tape.events(), expandable=how).most_reserved for how in (False, True)]
    return {"allocated": peak.total, "reserved": reserved, "phase": peak.phase.partition(" ")[0], "cause": peak.cause}


def wanted(families: str, recipes: str) -> list[tuple[str, str]]:
    """Return the points: all of them, or those of the named families and recipes."""
    points = [(family, name) for name in RECIPES for family in CONFIGS]
    points += [(family, name) for name in MORE for family in WIDELY]
    points += [(family, name) for name in MIXERS for family in SPACES]
    return [
        (family, name)
        for family, name in points
        if (not families or family.partition(",")[0] in families.split(","))
        and (not recipes or name in recipes.split(","))
    ]


def save(table: dict[str, Any], file: Path) -> None:
    """Write the table, a line for each point."""
    lines = [
        f"  {json.dumps(family)}: {{\n"
        + ",\n".join(f"   {json.dumps(name)}: {json.dumps(point)}" for name, point in points.items())
        + "\n  }"
        for family, points in table["points"].items()
    ]
    heads = "\n".join(f" {json.dumps(key)}: {json.dumps(table[key])}," for key in ("versions", "models", "recipes"))
    file.write_text(f'{{\n{heads}\n "points": {{\n' + ",\n".join(lines) + "\n }\n}\n")


def main() -> None:
    """Trace what the table lacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="", help="families to trace, with commas between them")
    parser.add_argument("--recipe", default="", help="recipes to trace, with commas between them")
    parser.add_argument("--again", action="store_true", help="trace them anew")
    parser.add_argument(
        "--apart", type=int, metavar="SEED", help="trace points drawn at random, into a table of their own"
    )
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    sys.modules.setdefault("triton", None)  # pyright: ignore[reportArgumentType]
    versions = {name: importlib.import_module(name).__version__ for name in ("torch", "transformers", "peft")}
    file = TABLE if args.apart is None else APART
    table: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"points": {}}
    if args.apart is None:
        table["recipes"] = {**RECIPES, **MORE, **MIXERS}
        table["models"] = {family: {"model_type": family.partition(",")[0], **it} for family, it in CONFIGS.items()}
        points = wanted(args.family, args.recipe)
    else:
        table = draw(args.apart) | {"points": table["points"]}
        points = list(zip(table["models"], table["recipes"], strict=True))
    table["versions"] = versions
    for family, name in points:
        known = table["points"].setdefault(family, {})
        if name in known and not args.again:
            continue
        began = time.monotonic()
        known[name] = traced(family, table["models"][family], table["recipes"][name])
        gc.collect()
        print(f"{time.monotonic() - began:6.1f} s  {family}: {name}: {known[name]}", flush=True)
        save(table, file)


if __name__ == "__main__":
    main()
