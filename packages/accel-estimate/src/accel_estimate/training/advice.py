"""Which single changes would lower the peak of a training step most: each is estimated by itself."""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.errors import UsageError
from accel_estimate.training.step import estimate_training

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from accel_estimate.model.blueprint import Blueprint
    from accel_estimate.model.weights import Weight
    from accel_estimate.training.recipe import Recipe


class Change(Record):
    """A change of the recipe, with the flags that make it and the bytes that it saves on each device."""

    name: str
    flags: str
    saves: float


# The changes to try: a name, the flags, and the fields of the recipe. The user chooses the length of sequences.
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


def changes(weights: Sequence[Weight], blueprint: Blueprint, recipe: Recipe, most: int = 5) -> list[Change]:
    """Return the possible changes that save more than 1 % of the peak, the largest saving first."""
    now = estimate_training(weights, blueprint, recipe).expected
    found: list[Change] = []
    for name, flags, fields in _CHANGES:
        other = _changed(recipe, fields)
        if other is None:
            continue
        try:
            saves = now - estimate_training(weights, blueprint, other).expected
        except UsageError:  # an impossible combination
            continue
        if saves > _WORTH * now:
            found.append(Change(name, flags.format(other.batch_size), saves))
    return sorted(found, key=lambda change: -change.saves)[:most]


def _changed(recipe: Recipe, fields: Mapping[str, Any]) -> Recipe | None:
    """Return the changed recipe; None if nothing changes, or if the change contradicts the user's choice."""
    if "batch_size" in fields:
        return recipe.replace(batch_size=recipe.batch_size // 2) if recipe.batch_size > 1 else None
    sharded = recipe.num_processes > 1
    if ("fsdp" in fields and (recipe.zero_stage >= 0 or not sharded)) or (
        "zero_stage" in fields and (recipe.zero_stage < 0 or not sharded)
    ):
        return None
    other = recipe.replace(**fields)
    return None if other == recipe else other
