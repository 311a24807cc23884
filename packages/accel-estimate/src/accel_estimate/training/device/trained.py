"""What is trained: every parameter, or adapters alone."""

from __future__ import annotations

from collections import Counter
from math import prod

from accel_config.record import Record
from accel_estimate.formats.tensors import Listing, gather
from accel_estimate.model import parameters
from accel_estimate.training import lora, optimizers
from accel_estimate.training.recipe import WIDTH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_estimate.model.blueprint import Blueprint
    from accel_estimate.model.weights import Weight
    from accel_estimate.training.recipe import Recipe


class Trained(Record):
    """What is trained before ZeRO or FSDP divides it.

    `parameters` is their number, `width` the bytes of a weight and of its gradient, `states` the bytes of the
    optimizer's states, `adapters` the number of parameters in adapters.
    """

    parameters: float
    width: int
    states: float
    adapters: float

    def times(self, part: float) -> Trained:
        """Return a part of it."""
        return Trained(self.parameters * part, self.width, self.states * part, self.adapters * part)


def trained(weights: Sequence[Weight], blueprint: Blueprint, recipe: Recipe) -> Trained:
    """Count what is trained: every parameter, or the adapters alone (fp32 unless `lora_dtype` is set).

    Raises:
        UsageError: the recipe names adapters that fit no layer, or whose shape is unknown.

    """
    if recipe.trains_all:
        shapes: Counter[tuple[int, ...]] = Counter()
        for weight in weights:
            shapes[weight.shape or (weight.parameters // weight.copies,)] += weight.copies if weight.parameters else 0
        count = sum(weight.parameters for weight in weights)
        width = 4 if recipe.zero_stage >= 0 else WIDTH[recipe.param_dtype]
        return Trained(count, width, optimizers.state_bytes(shapes, recipe.optimizer, width), 0)
    chosen = lora.targets(weights, recipe.lora_targets)
    known: dict[str, tuple[int, ...]] = {}
    if any(not weight.shape for weight in chosen):
        described, _ = gather([Listing.of(parameters.tensors(blueprint))])
        known = {tensor.module: tensor.shape for tensor in described if tensor.name.endswith("weight")}
    shapes = lora.shapes(chosen, recipe.lora_rank, known)
    count = sum(prod(shape) * number for shape, number in shapes.items())
    width = 4 if recipe.zero_stage >= 0 else WIDTH[recipe.lora_dtype]
    return Trained(count, width, optimizers.state_bytes(shapes, recipe.optimizer, width), count)
