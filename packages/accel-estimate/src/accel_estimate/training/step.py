"""What a training step takes on one device: the peak of its moments, with low and high.

Every constant says where it comes from. The parts are counted in `device` and `activations`.
"""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.devices.runtime import NCCL, WORKSPACES, context, published
from accel_estimate.errors import UsageError
from accel_estimate.training import litgpt
from accel_estimate.training.device import megatron
from accel_estimate.training.device.moments import Moment, moments
from accel_estimate.training.device.rank import Rank
from accel_estimate.training.device.reserve import MOST, beside
from accel_estimate.training.device.stage import Stage, stages
from accel_estimate.training.device.trained import Trained, trained
from accel_estimate.training.recipe import Recipe, check
from accel_estimate.training.reentrant import settled
from accel_estimate.training.versions import numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_estimate.devices.runtime import Range
    from accel_estimate.model.blueprint import Blueprint
    from accel_estimate.model.weights import Weight

VARIED = published(0.4, 1.0)
"""What the allocator holds beside that if lengths vary, as a part of activations and logits: a block that served one
length doesn't fit the next. Sixteen runs with LoRA on packed weights, padded to the longest sequence of a batch,
reserved 0.4 to 1.0 times what isn't weights or states above their allocated peak (fms-acceleration,
scripts/benchmarks/refs_orca/a100_80gb_pf.csv)."""

UNCOUNTED = 0.25
"""What a careless implementation may keep or copy beyond the operations that `activations` counts, as a part of
them; in `high` only. LitGPT's runs in tests/estimate/measured keep up to a quarter more a token."""


PARTITION = 0.15
"""How much more or less of the activations and logits torch.compile keeps than counted, in `low` and `high`: its
partitioner chooses by a minimum cut what it keeps and what it computes again. A judgment: published compiled runs
reserved 3 to 13 % less than expected."""


def counted(recipe: Recipe) -> Recipe:
    """Return a recipe as it is counted: what Megatron-LM and LitGPT do by themselves is set."""
    return litgpt.counted(megatron.counted(recipe))


class TrainingEstimate(Record):
    """The memory of one device, in bytes.

    `low`, `expected`, `high`: what the device must have, with the allocator's slack, the CUDA context and NCCL.
    `allocated`: the peak of torch.cuda.max_memory_allocated; `reserved`: of max_memory_reserved; both as low,
    expected and high. `overhead`: the part of `expected` that isn't in the peak's parts. `trainable`: the number of
    trained parameters. `traced`: torch itself ran the step; then `expandable` is what is reserved with expandable
    segments.
    """

    low: float
    expected: float
    high: float
    peak: Moment
    moments: tuple[Moment, ...]
    overhead: float
    allocated: Range
    reserved: Range
    trainable: float
    traced: bool = False
    expandable: float | None = None


def estimate_training(weights: Sequence[Weight], blueprint: Blueprint, recipe: Recipe) -> TrainingEstimate:
    """Return the memory of one training step.

    low: the same recipe with every fusion that torch.compile makes. high: with every temporary tensor of the least
    careful implementation.

    Raises:
        UsageError: the recipe isn't possible, or names adapters that fit no layer.

    """
    check(recipe)
    recipe = settled(counted(recipe))
    total, held = holdings(weights, blueprint, recipe)
    loss = "compiled" if recipe.loss_kind == "plain" else recipe.loss_kind
    fused = recipe.replace(
        loss=loss, compile=True, optimizer_form="fused", outputs="freed", transformers=Recipe.transformers
    )
    careless = recipe.replace(
        loss=recipe.loss_kind,
        optimizer_form="foreach",
        outputs="kept",
        bitsandbytes="0",
        transformers=min(recipe.transformers, "4.45", key=numbers),
        repeats_keys=True,
    )
    found, rank = _worst_stage(held, blueprint, recipe)
    peak = _peak(found)
    low = _peak(_worst_stage(held, blueprint, fused)[0]).parts.total
    if recipe.compile:
        low = min(low, peak.parts.total) - PARTITION * (peak.parts.activations + peak.parts.logits)
    high = max(_uncounted(moment, recipe) for moment in _worst_stage(held, blueprint, careless)[0])
    allocated = (min(low, peak.parts.total), peak.parts.total, max(high, peak.parts.total) + WORKSPACES[2])
    slack = beside(found, rank)
    slack = slack[0], slack[1], max(slack[2], MOST * allocated[2])
    least, middle, most = (it + slack[i] + _holes(peak, recipe, i) for i, it in enumerate(allocated))
    reserved = least, middle, most
    device = [amount + _runtime(recipe, i) for i, amount in enumerate(reserved)]
    return TrainingEstimate(
        device[0],
        device[1],
        device[2],
        peak,
        tuple(found),
        device[1] - allocated[1],
        allocated,
        reserved,
        total.parameters,
    )


Holdings = tuple["Trained", "list[tuple[Stage, Trained]]"]
"""What is trained, and what each stage of a pipeline holds."""


def holdings(weights: Sequence[Weight], blueprint: Blueprint, recipe: Recipe) -> Holdings:
    """Return what is trained and what each stage holds; neither depends on batch, length, loss or checkpointing.

    Raises:
        UsageError: the recipe names adapters that fit no layer, has more stages than layers, or divides experts that
            the model doesn't have.

    """
    recipe = counted(recipe)
    if recipe.ep > 1 and not any(layer.experts for layer in blueprint.layers()):
        raise UsageError(f"--ep {recipe.ep}: has no effect on a model without experts")
    total = trained(weights, blueprint, recipe)
    whole = sum(weight.parameters for weight in weights) + litgpt.untied(blueprint, recipe)
    return total, [(stage, total.times(_part(stage, recipe, whole))) for stage in stages(weights, blueprint, recipe)]


def expected(held: Holdings, blueprint: Blueprint, recipe: Recipe) -> float:
    """Return `TrainingEstimate.expected` alone, of a possible recipe; a search asks for it a thousand times."""
    found, rank = _worst_stage(held[1], blueprint, recipe)
    peak = _peak(found)
    return peak.parts.total + beside(found, rank)[1] + _holes(peak, recipe, 1) + _runtime(recipe, 1)


def _holes(peak: Moment, recipe: Recipe, which: int) -> float:
    """Return what the allocator holds of lengths that have passed: the low, the expected or the high amount."""
    return VARIED[which] * (peak.parts.activations + peak.parts.logits) if recipe.lengths == "varied" else 0.0


def _runtime(recipe: Recipe, which: int) -> float:
    """Return what CUDA and NCCL take: the low, the expected or the high amount."""
    return context(recipe.card)[which] + (NCCL[which] if recipe.num_processes > 1 else 0)


def _part(stage: Stage, recipe: Recipe, parameters: float) -> float:
    """Return the part of what is trained that one stage holds; adapters go with their layers."""
    return stage.parameters / (parameters or 1) if recipe.trains_all else stage.share / recipe.tp


def _worst_stage(
    held: Sequence[tuple[Stage, Trained]], blueprint: Blueprint, recipe: Recipe
) -> tuple[list[Moment], Rank]:
    """Return the moments of the stage of the pipeline with the highest peak, which they name, and its device."""
    ranks = [Rank(stage, part, blueprint, counted(recipe)) for stage, part in held]
    found, rank = max(((moments(rank), rank) for rank in ranks), key=lambda one: _peak(one[0]).parts.total)
    if recipe.pp > 1:
        place = "last" if rank.stage.has_head else "first"
        keeps = f"in the {place} of {recipe.pp} stages, which keeps {rank.stage.in_flight:.3g} micro-batches"
        found = [it.replace(why=f"{it.why}, {keeps}") for it in found]
    return found, rank


def _peak(found: Sequence[Moment]) -> Moment:
    return max(found, key=lambda moment: moment.parts.total)


def _uncounted(moment: Moment, recipe: Recipe) -> float:
    compiled = PARTITION * (moment.parts.activations + moment.parts.logits) if recipe.compile else 0.0
    return moment.parts.total + UNCOUNTED * moment.parts.activations + compiled
