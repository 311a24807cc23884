"""From a model to a report.

Parts that not every estimate needs are imported where they are used: together they take as long as all the rest.
"""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.devices import limits
from accel_estimate.errors import UsageError
from accel_estimate.estimation.memory_report import Report
from accel_estimate.formats.tensors import total
from accel_estimate.model import sizes
from accel_estimate.model.sizes import DTYPES
from accel_estimate.model.weights import groups, largest, logical, stored_packing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_estimate.model.blueprint import Blueprint
    from accel_estimate.model.checkpoint import Model
    from accel_estimate.model.weights import Weight
    from accel_estimate.serving.settings import Serving
    from accel_estimate.training.recipe import Recipe


class Tracing(Record):
    """Have torch itself run the training step, instead of formulas; the formulas answer where that fails."""

    revision: str = "main"
    """Branch, tag or commit on the Hub of the model's own code."""
    trust_remote_code: bool = False
    """Whether that code may run."""


class Ask(Record):
    """What a report must contain: rows of the table of sizes, a training run, serving, and a device to fit."""

    dtypes: Sequence[str] = DTYPES
    """The number formats of the table of sizes."""
    training: Recipe | None = None
    """The training run to estimate; None: none."""
    serving: Serving | None = None
    """The server to estimate; None: none."""
    device: str | None = None
    """A device to fit, by name or size, such as ``A100-80G`` or ``24GiB``; None: none."""
    trace: Tracing | None = None
    """Have torch run the step of `training`; None: formulas."""


def estimate(model: Model, ask: Ask | None = None) -> Report:
    """Return a report on a model that `load` returned.

    Raises:
        UsageError: a part of `ask` isn't possible.
        CorruptFileError: the model's config.json contradicts itself.

    """
    ask = ask or Ask()
    weights = logical(model.tensors, model.config)
    grouped = groups(weights, model.config, model.library)
    report = Report(
        model,
        sum(w.parameters for w in weights),
        tuple(sizes.rows(weights, grouped, ask.dtypes)),
        largest(grouped),
        notes=model.notes,
    )
    if ask.training is not None:
        report = _trained(report, weights, ask.training, ask.trace)
    if ask.serving is not None:
        report = _served(report, weights, blueprint_of(model), ask.serving, ask.device)
    if ask.device is not None:
        report = report.replace(fit=_fit(report, ask))
    return report


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


def _trained(report: Report, weights: Sequence[Weight], wanted: Recipe, trace: Tracing | None) -> Report:
    recipe, notes = as_stored(report.model, wanted)
    report = report.replace(notes=report.notes + notes)
    if trace is None:
        return _by_formula(report, weights, blueprint_of(report.model), recipe)
    from accel_estimate.tracing.limits import UntraceableError
    from accel_estimate.tracing.result import traced
    from accel_estimate.training.recipe import check

    check(recipe)
    try:
        training, notes = traced(
            report.model, recipe, revision=trace.revision, trust_remote_code=trace.trust_remote_code
        )
    except UntraceableError as error:
        report = _by_formula(report, weights, blueprint_of(report.model), recipe)
        return report.replace(notes=(*report.notes, f"Not traced, so the formula answers: {error}"))
    return report.replace(training=training, notes=report.notes + notes)


def _by_formula(report: Report, weights: Sequence[Weight], blueprint: Blueprint, recipe: Recipe) -> Report:
    from accel_estimate.training import advice
    from accel_estimate.training.step import estimate_training

    training = estimate_training(weights, blueprint, recipe)
    changes = tuple(advice.changes(weights, blueprint, recipe))
    return _noted(report.replace(training=training, changes=changes), blueprint)


def as_stored(model: Model, recipe: Recipe) -> tuple[Recipe, tuple[str, ...]]:
    """Return the recipe for weights as stored: under adapters, packed weights stay packed. A note reports it."""
    packing = stored_packing(model.config)
    if not packing or recipe.quantize != "none":
        return recipe, ()
    if recipe.trains_all:
        return recipe, ("Its weights are stored packed; to train all of them, they are unpacked first.",)
    return recipe.replace(quantize=packing), (f"Its weights are stored packed: read as --quantize {packing}.",)


def _noted(report: Report, blueprint: Blueprint) -> Report:
    if not blueprint.guessed:
        return report
    note = f"The family {blueprint.family!r} is not known; it was read as a plain decoder."
    return report if note in report.notes else report.replace(notes=(*report.notes, note))


def _served(
    report: Report, weights: Sequence[Weight], blueprint: Blueprint, how: Serving, device: str | None
) -> Report:
    from accel_estimate.serving.reach import reach
    from accel_estimate.serving.server import estimate_serving

    report = _noted(report.replace(serving=estimate_serving(weights, blueprint, how)), blueprint)
    if blueprint.positions and how.context_len > blueprint.positions:
        note = f"The model was made for {blueprint.positions:,} tokens, less than the {how.context_len:,} asked for."
        report = report.replace(notes=(*report.notes, note))
    if device is None:
        return report
    return report.replace(reach=reach(weights, blueprint, how, limits.limit(device)))


def _fit(report: Report, ask: Ask) -> limits.Fit:
    """Return whether what was asked for fits: training, else serving, else the weights of the first row."""
    device = str(ask.device)
    limit = limits.limit(device)
    if report.training is not None:
        return limits.Fit(device, limit, report.training.expected, "training")
    if report.serving is not None and ask.serving is not None:
        return limits.Fit(device, limit, report.serving.expected, f"serving with weights {ask.serving.weights}")
    row = report.rows[0] if report.rows else None
    if row is None:
        return limits.Fit(device, limit, total(report.model.tensors), "weights as stored")
    return limits.Fit(device, limit, row.total_bytes, f"weights in {row.dtype}")
