"""From a model to a report.

Parts that not every estimate needs are imported where they are used: together they take as long as all the rest.
"""

from __future__ import annotations

from functools import partial

from accel_estimate.estimation.ask import Ask
from accel_estimate.estimation.memory_report import Report
from accel_estimate.estimation.subject import as_stored, blueprint_of, check_filled, remarks
from accel_estimate.model import sizes
from accel_estimate.model.weights import groups, largest, logical

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_estimate.estimation.ask import Tracing
    from accel_estimate.model.blueprint import Blueprint
    from accel_estimate.model.checkpoint import Model
    from accel_estimate.model.weights import Weight
    from accel_estimate.serving.settings import Serving
    from accel_estimate.training.recipe import Recipe


def estimate(model: Model, ask: Ask | None = None) -> Report:
    """Return a report on a model that `load` returned.

    Raises:
        UsageError: a part of `ask` isn't possible.
        CorruptFileError: the model's config.json contradicts itself, or its tensors are empty.

    """
    ask = ask or Ask()
    check_filled(model)
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
        if ask.device is None:
            report = _saved(report, weights, ask.training)
    if ask.serving is not None:
        report = _served(report, weights, blueprint_of(model), ask.serving)
    if ask.device is not None:
        from accel_estimate.estimation.fitting import fitted

        traced = report.training is not None and report.training.traced
        report = fitted(report, ask, weights, partial(_again, model, ask) if traced else None)
    return report


def _again(model: Model, ask: Ask, recipe: Recipe) -> float:
    """Return the expected bytes of another recipe, traced as `ask` says."""
    training = estimate(model, ask.replace(training=recipe, serving=None, device=None)).training
    return training.expected if training is not None else float("inf")


def _trained(report: Report, weights: Sequence[Weight], wanted: Recipe, trace: Tracing | None) -> Report:
    from accel_estimate.training.idle import check_packed

    recipe, notes = as_stored(report.model.config, wanted)
    check_packed(recipe)
    report = report.replace(notes=report.notes + notes + remarks(recipe))
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
    from accel_estimate.training.step import estimate_training

    report = _noted(report.replace(training=estimate_training(weights, blueprint, recipe)), blueprint)
    return _lengthy(report, blueprint, recipe.seq_len, type(recipe).seq_len)


def _saved(report: Report, weights: Sequence[Weight], recipe: Recipe) -> Report:
    if report.training is None or report.training.traced:
        return report
    from accel_estimate.answer.answers import Training

    return report.replace(savings=Training(report.model.config, weights, blueprint_of(report.model)).savings(recipe))


def _once(report: Report, note: str) -> Report:
    return report if note in report.notes else report.replace(notes=(*report.notes, note))


def _noted(report: Report, blueprint: Blueprint) -> Report:
    if not blueprint.guessed:
        return report
    note = f"The family {blueprint.family!r} is not known; it was read as a plain decoder."
    return _once(report, note)


def _served(report: Report, weights: Sequence[Weight], blueprint: Blueprint, how: Serving) -> Report:
    from accel_estimate.serving.server import estimate_serving

    report = _noted(report.replace(serving=estimate_serving(weights, blueprint, how)), blueprint)
    return _lengthy(report, blueprint, how.context_len, type(how).context_len)


def _lengthy(report: Report, blueprint: Blueprint, length: int, usual: int) -> Report:
    own = blueprint.encoder_tokens
    if blueprint.fixed and length not in (own, usual):
        note = f"Every sequence of this model has {own:,} tokens, whatever length is asked for."
        return _once(report, note)
    if not 0 < blueprint.positions < length:
        return report
    note = f"The model was made for {blueprint.positions:,} tokens, less than the {length:,} asked for."
    return _once(report, note)
