"""Megatron-LM in terms of ZeRO."""

from __future__ import annotations

from math import ceil

from accel_estimate.errors import UsageError
from accel_estimate.training.activations.recomputed import Recomputed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.model.blueprint import Blueprint
    from accel_estimate.training.recipe import Recipe

OF_EXPERTS = ("moe", "moe_act", "shared_experts")
"""Modules that are recomputed in a mixture of experts alone."""


def counted(recipe: Recipe) -> Recipe:
    """Return a recipe of Megatron-LM as it is counted; any other is itself.

    Megatron-LM keeps narrow weights, fp32 gradients in a buffer that is always there, and an fp32 copy with the
    optimizer. Its kernels are fused (megatron/core). Its cross entropy makes fp32 logits, and their gradient in their
    place.
    """
    if recipe.megatron == "none":
        return recipe
    return recipe.replace(
        zero_stage=1 if recipe.megatron == "distributed" else 0,
        reduce_bucket_size=0,
        gradient_dtype="float32",
        optimizer_form="fused",
        compile=True,
        loss="narrow" if recipe.loss == "auto" else recipe.loss,
    )


def recomputed(recipe: Recipe, blueprint: Blueprint) -> Recomputed | None:
    """Return what Megatron-LM computes again; None: another trainer's checkpointing, or none.

    Raises:
        UsageError: the model has no such modules.

    """
    if recipe.megatron == "none" or recipe.gradient_checkpointing == "none":
        return None
    group = max(1, ceil(sum(1 for _ in blueprint.layers()) / (recipe.pp * recipe.virtual_stages)))
    if recipe.gradient_checkpointing == "selective":
        absent = [name for name in OF_EXPERTS if name in recipe.recompute_modules]
        if absent and not any(it.experts for it in blueprint.layers()):
            raise UsageError(f"--recompute_modules {absent[0]}: the model has no experts")
        return Recomputed(frozenset(recipe.recompute_modules or ("core_attn",)), group)
    block = recipe.recompute_method == "block"
    layers = min(recipe.recompute_num_layers, group)
    return Recomputed(None, group, layers if block else group, 1 if block else layers)
