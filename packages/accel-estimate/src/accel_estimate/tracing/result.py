"""From a tape to an estimate, with the same components as the formulas."""

from __future__ import annotations

import warnings

from accel_estimate.devices.runtime import NCCL, WORKSPACES, context
from accel_estimate.tracing import allocator, limits
from accel_estimate.training.device.moments import Moment, Parts
from accel_estimate.training.step import TrainingEstimate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.devices.runtime import Range
    from accel_estimate.model.checkpoint import Model
    from accel_estimate.tracing.tape import Tape
    from accel_estimate.training.recipe import Recipe

ABOVE = 0.15
"""How far measured reserved memory was above the replay's, at most, as a part of it: of four published peaks it was
6.9 and 5.7 and 13.6 % above, and once 2.3 % below. Three of torchtitan's are 3.5 and 2.9 % above what segments that
expand reserve, and 1.7 % below."""


def traced(
    model: Model, recipe: Recipe, *, revision: str = "main", trust_remote_code: bool = False
) -> tuple[TrainingEstimate, tuple[str, ...]]:
    """Return the memory of a traced step, and notes.

    Raises:
        UsageError: a library is missing, or transformers doesn't know the model.
        UntraceableError: the step can't be run without data.

    """
    limits.check_installed()
    limits.check(recipe)
    from accel_estimate.tracing import step
    from accel_estimate.tracing.building import Origin

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = step.trace(Origin(model.name, model.config, revision, trust_remote_code), recipe)
    notes = found.notes
    if recipe.compile:
        notes += ("torch.compile isn't traced: these are the amounts of the model as written.",)
    return estimate(found.tape, recipe, found.trained), notes


def estimate(tape: Tape, recipe: Recipe, trained: int) -> TrainingEstimate:
    """Return the estimate of one device: allocated as traced, reserved by replay, and the device's own share."""
    found = [
        Moment(peak.phase, f"reached in {peak.cause}", Parts(**{k: float(v) for k, v in peak.parts.items()}))
        for peak in tape.peaks()
    ]
    peak = max(found, key=lambda moment: moment.parts.total)
    plain = allocator.replay(tape.events())
    expandable = float(allocator.replay(tape.events(), expandable=True).most_reserved)
    total, most = peak.parts.total, float(plain.most_reserved)
    allocated = (total, total, max(total, float(plain.most_allocated)))
    reserved = (min(most, expandable), most, most * (1 + ABOVE))
    device = _on_the_device(reserved, recipe)
    return TrainingEstimate(
        *device,
        peak,
        tuple(found),
        device[1] - total,
        allocated,
        reserved,
        trained,
        traced=True,
        expandable=expandable,
    )


def _on_the_device(reserved: Range, recipe: Recipe) -> Range:
    nccl = NCCL if recipe.num_processes > 1 else (0.0, 0.0, 0.0)
    low, expected, high = (sum(parts) for parts in zip(reserved, context(recipe.card), WORKSPACES, nccl, strict=True))
    return low, expected, high
