"""Megatron-LM in terms of ZeRO."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.training.recipe import Recipe


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
