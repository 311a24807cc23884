"""A model as estimates see it: its layers, and a recipe for weights as they are stored."""

from __future__ import annotations

from accel_estimate.errors import CorruptFileError, UsageError
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

    blueprint = families.of(model)
    if blueprint is None:
        family = model.config.get("model_type")
        why = f"its model_type {family!r} isn't known" if family else "there is no config.json that names its family"
        raise UsageError(
            f"{model.name}: {why}, so only the sizes of its weights can be estimated, not --training or --serving"
        )
    return blueprint


def check_filled(model: Model) -> None:
    """Check that a model's tensors hold numbers, as those of a partitioned checkpoint or of a width of 0 don't.

    Raises:
        CorruptFileError: most of them are empty.

    """
    empty = [tensor.name for tensor in model.tensors if 0 in tensor.shape]
    if 2 * len(empty) <= len(model.tensors):
        return
    hint = ""
    if model.exact:
        hint = "; ZeRO stage 3 leaves such files where its partitions weren't gathered to save: zero_to_fp32.py does"
    raise CorruptFileError(
        f"{model.name}: {len(empty)} of the {len(model.tensors)} tensors in its {model.origin} hold no numbers, such "
        f"as {empty[0]}{hint}"
    )


def remarks(recipe: Recipe) -> tuple[str, ...]:
    """Return notes on settings that come to something else than what they say."""
    if recipe.param_dtype == "float32" or recipe.mixed_precision == "no":
        return ()
    typed = f"--param_dtype {recipe.param_dtype}"
    if recipe.weights_dtype != recipe.param_dtype:
        why = "counts as float32: under FSDP with mixed precision Accelerate makes trained weights float32"
        return (f"{typed} {why}. --mixed_precision no leaves them as they are.",)
    if recipe.zero_stage >= 0:
        why = "DeepSpeed holds weights in the type of --mixed_precision, and a float32 copy of those that are trained"
        return (f"{typed} changes nothing: {why}.",)
    return ()


def as_stored(config: Mapping[str, Any], recipe: Recipe) -> tuple[Recipe, tuple[str, ...]]:
    """Return the recipe for weights as stored: under adapters, packed weights stay packed. A note reports it."""
    packing = stored_packing(config)
    if not packing or recipe.quantize != "none":
        return recipe, ()
    if recipe.trains_all:
        return recipe, ("Its weights are stored packed; to train all of them, they are unpacked first.",)
    return recipe.replace(quantize=packing), (f"Its weights are stored packed: read as --quantize {packing}.",)
