"""A model as estimates see it: its layers, and a recipe for weights as they are stored."""

from __future__ import annotations

from accel_estimate.errors import UsageError
from accel_estimate.model.weights import stored_packing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from accel_estimate.model.blueprint import Blueprint
    from accel_estimate.model.checkpoint import Model
    from accel_estimate.training.recipe import Recipe


def blueprint_of(model: Model) -> Blueprint:
    """Return the blueprint of a model.

    Raises:
        UsageError: its config.json is missing, or its family isn't known.

    """
    from accel_estimate.model import families

    blueprint = families.read(model.config)
    if blueprint is None:
        family = model.config.get("model_type")
        why = f"its model_type {family!r} isn't known" if family else "there is no config.json that names its family"
        raise UsageError(
            f"{model.name}: {why}, so only the sizes of its weights can be estimated, not --training or --serving"
        )
    return blueprint


def as_stored(config: Mapping[str, Any], recipe: Recipe) -> tuple[Recipe, tuple[str, ...]]:
    """Return the recipe for weights as stored: under adapters, packed weights stay packed. A note reports it."""
    packing = stored_packing(config)
    if not packing or recipe.quantize != "none":
        return recipe, ()
    if recipe.trains_all:
        return recipe, ("Its weights are stored packed; to train all of them, they are unpacked first.",)
    return recipe.replace(quantize=packing), (f"Its weights are stored packed: read as --quantize {packing}.",)
