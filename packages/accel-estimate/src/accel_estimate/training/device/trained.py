"""What is trained: every parameter, or adapters alone."""

from __future__ import annotations

from collections import Counter
from math import prod

from accel_config.record import Record
from accel_estimate.formats.tensors import Listing, gather
from accel_estimate.model import parameters
from accel_estimate.training import litgpt, lora, optimizers
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
    optimizer's states, `adapters` the number of parameters beside the model's own, `largest` that of the largest
    tensor.
    """

    parameters: float
    width: int
    states: float
    adapters: float
    largest: float = 0

    def times(self, part: float) -> Trained:
        """Return a part of it."""
        return self.replace(
            parameters=self.parameters * part, states=self.states * part, adapters=self.adapters * part
        )


def trained(weights: Sequence[Weight], blueprint: Blueprint, recipe: Recipe) -> Trained:
    """Count what is trained: every parameter, or adapters and copies of whole modules alone (in `adapters_dtype`).

    Raises:
        UsageError: the recipe names adapters that fit no layer, or whose shape is unknown.

    """
    if recipe.trains_all:
        shapes: Counter[tuple[int, ...]] = Counter()
        steps = [weight for weight in weights if weight.name != blueprint.frozen]
        for weight in steps:
            shapes[weight.shape or (weight.parameters // weight.copies,)] += weight.copies if weight.parameters else 0
        count = sum(weight.parameters for weight in steps)
        if head := litgpt.untied(blueprint, recipe):
            shapes[blueprint.vocab, blueprint.hidden] += 1
            count += head
        width = 4 if recipe.zero_stage >= 0 else WIDTH[recipe.weights_dtype]
        states = optimizers.state_bytes(shapes, recipe.optimizer, width)
        return Trained(count, width, states, 0, largest(weights))
    shapes = _adapters(weights, blueprint, recipe)
    for weight in lora.saved(weights, recipe.modules_to_save):
        shapes[weight.shape or (weight.parameters // weight.copies,)] += weight.copies
    count = sum(prod(shape) * number for shape, number in shapes.items())
    width = 4 if recipe.zero_stage >= 0 else WIDTH[recipe.adapters_dtype]
    states = optimizers.state_bytes(shapes, recipe.optimizer, width)
    return Trained(count, width, states, count, max(map(prod, shapes), default=0))


def _adapters(weights: Sequence[Weight], blueprint: Blueprint, recipe: Recipe) -> Counter[tuple[int, ...]]:
    """Return the shapes of all adapters and their number."""
    if recipe.framework == "litgpt":
        return litgpt.shapes(blueprint, recipe)
    experts = not recipe.lora_targets and any(it.experts and it.experts.adapts for it in blueprint.decoder.layers)
    chosen = lora.targets(weights, recipe.lora_targets, experts=experts)
    known: dict[str, tuple[int, ...]] = {}
    if any(not weight.shape for weight in chosen):
        described, _ = gather([Listing.of(parameters.tensors(blueprint))])
        known = {tensor.module: tensor.shape for tensor in described if tensor.name.endswith("weight")}
    return lora.shapes(chosen, recipe.lora_rank, known, experts=experts)


def largest(weights: Sequence[Weight]) -> int:
    """Return the parameters of the largest tensor; transformers has two for all experts of a block."""
    sizes: Counter[str] = Counter()
    for weight in weights:
        before, experts, after = weight.name.partition("experts.")
        side = "down" if "down" in after or "w2" in after else "up"
        sizes[before + side if experts and not before.endswith("shared_") else weight.name] += weight.parameters
    return max(sizes.values(), default=0)
