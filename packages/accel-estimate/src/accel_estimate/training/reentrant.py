"""What FSDP 1 holds of frozen layers that are checkpointed in torch's reentrant form."""

from __future__ import annotations

from accel_estimate.training.versions import REENTERS, numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.training.recipe import Recipe


def settled(recipe: Recipe) -> Recipe:
    """Return the recipe with the form of checkpointing that its version of transformers has, if it chooses none."""
    if recipe.use_reentrant != "auto":
        return recipe
    return recipe.replace(use_reentrant="true" if numbers(recipe.transformers) < REENTERS else "false")


def would_hold(recipe: Recipe) -> bool:
    """Return whether adapters and full checkpointing would have FSDP hold each layer's input, see `holds_inputs`."""
    version_1 = recipe.fsdp != "none" and recipe.fsdp_version == 1 and recipe.wrap == "layer"
    return version_1 and settled(recipe).use_reentrant == "true"


def holds_inputs(recipe: Recipe) -> bool:
    """Return whether each layer's input, and the gradient of that, stay until the backward pass is over.

    FSDP 1 divides a frozen layer again when its input has a gradient. The hook for this holds the node that adds that
    gradient up, and with it the tensor and its gradient if reentrant checkpointing has made it a leaf; it is removed
    when the whole pass is over (`_register_post_backward_reshard_only_hook` in torch/distributed/fsdp).
    """
    return would_hold(recipe) and not recipe.trains_all and recipe.gradient_checkpointing == "full"
