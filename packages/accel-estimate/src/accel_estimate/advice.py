"""What would lower the peak of a training step most, found by estimating every change by itself."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from accel_estimate import training
from accel_estimate.blueprint import Blueprint
from accel_estimate.errors import UsageError
from accel_estimate.recipe import Recipe
from accel_estimate.weights import Weight


class Change(NamedTuple):
    """A change of the recipe, with the flags that make it and the bytes that it saves on every device."""

    name: str
    flags: str
    saves: float


# What is tried: a name, the flags, and the fields of the recipe. The length of sequences is left to the user.
_CHANGES: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("full checkpointing", "--gradient_checkpointing full", {"gradient_checkpointing": "full"}),
    ("selective checkpointing", "--gradient_checkpointing selective", {"gradient_checkpointing": "selective"}),
    ("flash attention", "--attention flash", {"attention": "flash"}),
    ("fused linear cross-entropy", "--loss fused", {"loss": "fused"}),
    ("bf16 mixed precision", "--mixed_precision bf16", {"mixed_precision": "bf16"}),
    ("pure bf16 weights", "--param_dtype bfloat16", {"param_dtype": "bfloat16"}),
    ("8-bit AdamW", "--optimizer adamw_8bit", {"optimizer": "adamw_8bit"}),
    ("fully sharded data parallelism", "--fsdp full", {"fsdp": "full"}),
    ("ZeRO stage 3", "--zero_stage 3", {"zero_stage": 3}),
    ("optimizer on the CPU", "--offload_optimizer_device cpu", {"offload_optimizer_device": "cpu"}),
    ("parameters on the CPU", "--offload_param_device cpu", {"offload_param_device": "cpu"}),
    ("LoRA of rank 16", "--lora_rank 16", {"lora_rank": 16}),
    ("4-bit weights", "--quantize nf4", {"quantize": "nf4"}),
    ("half the batch", "--batch_size {}", {"batch_size": 0}),
)
_WORTH = 0.01


def changes(weights: Sequence[Weight], plan: Blueprint, recipe: Recipe, most: int = 5) -> list[Change]:
    """Rank the changes that can be made and save more than a hundredth of the peak, the largest saving first."""
    now = training.estimate(weights, plan, recipe).expected
    found: list[Change] = []
    for name, flags, fields in _CHANGES:
        other = _changed(recipe, fields)
        if other is None:
            continue
        try:
            saves = now - training.estimate(weights, plan, other).expected
        except UsageError:  # a combination that cannot work
            continue
        if saves > _WORTH * now:
            found.append(Change(name, flags.format(other.batch_size), saves))
    return sorted(found, key=lambda change: -change.saves)[:most]


def _changed(recipe: Recipe, fields: Mapping[str, Any]) -> Recipe | None:
    """Apply a change; None where it says nothing new, or fights what the user has chosen."""
    if "batch_size" in fields:
        return recipe._replace(batch_size=recipe.batch_size // 2) if recipe.batch_size > 1 else None
    sharded = recipe.num_processes > 1
    if ("fsdp" in fields and (recipe.zero_stage >= 0 or not sharded)) or (
        "zero_stage" in fields and (recipe.zero_stage < 0 or not sharded)
    ):
        return None
    other = recipe._replace(**fields)
    return None if other == recipe else other
