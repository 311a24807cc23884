"""Whether a device has enough memory, and the answer if it hasn't."""

from __future__ import annotations

from accel_estimate.answer import answers
from accel_estimate.devices.limits import Fit, check_number_of, read_devices, room
from accel_estimate.estimation.subject import blueprint_of
from accel_estimate.formats.tensors import total
from accel_estimate.model.sizes import divided, loaded_bytes
from accel_estimate.model.weights import groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from accel_estimate.answer.search import Answer
    from accel_estimate.devices.limits import Devices
    from accel_estimate.estimation.ask import Ask
    from accel_estimate.estimation.memory_report import Report
    from accel_estimate.model.weights import Weight
    from accel_estimate.training.recipe import Recipe

    Tracer = Callable[[Recipe], float]

TRACES = 3
"""How many answers are traced, at most, where the step itself was."""


def fitted(report: Report, ask: Ask, weights: Sequence[Weight], trace: Tracer | None = None) -> Report:
    """Return the report with what was asked for held against the device: training, else serving, else the weights.

    `trace` traces a recipe, if the step was traced: an answer is then traced too.

    Raises:
        UsageError: the device isn't known, or has fewer parts than the run has processes.

    """
    where = read_devices(str(ask.device))
    lacking = where.without(ask.training) if ask.training is not None else ()
    report = report.replace(notes=report.notes + where.notes + lacking)
    if ask.serving is not None and report.serving is not None:
        server = answers.Server(report.model.config, weights, blueprint_of(report.model))
        reach = server.reach(ask.serving, where.limit)
        subject = f"serving with weights {ask.serving.weights}"
        fit = Fit(where.text, where.limit, report.serving.expected, subject, reach)
        if ask.answer and not fit.fits:
            fit = fit.replace(reach=None, answer=server.answer(ask.serving, where.limit, where.count))
        report = report.replace(reach=reach, fit=fit)
    if ask.training is not None and report.training is not None:
        check_number_of(ask.training.num_processes, where)
        run = answers.Training(report.model.config, weights, blueprint_of(report.model), bf16=where.bf16)
        fit = Fit(where.text, where.limit, report.training.expected, "training")
        return report.replace(fit=_training(fit, ask.training, run, trace) if ask.answer else fit)
    if report.fit is not None:
        return report
    return report.replace(fit=_weights(report, weights, where, answer=ask.answer))


def _weights(report: Report, weights: Sequence[Weight], where: Devices, *, answer: bool) -> Fit:
    """Return whether the weights fit, in the first type that was asked for; several devices share them."""
    grouped = groups(weights, report.model.config, report.model.library).values()

    def needed(dtype: str) -> int:
        if where.count == 1:
            return loaded_bytes(weights, dtype)
        return divided([loaded_bytes(members, dtype) for members in grouped], where.count)

    row = report.rows[0] if report.rows else None
    if row is not None:
        amount = needed(row.dtype)
    elif where.count == 1:
        amount = total(report.model.tensors)
    else:
        amount = divided([sum(weight.nbytes for weight in members) for members in grouped], where.count)
    subject = f"weights in {row.dtype}" if row else "weights as stored"
    if where.count > 1:
        subject += f", on the fullest of {where.count} devices"
    fit = Fit(where.text, where.limit, amount, subject)
    if answer and row and not fit.fits:
        fit = fit.replace(answer=answers.loading(needed, row.dtype, where.limit))
    return fit


def _training(fit: Fit, recipe: Recipe, run: answers.Training, trace: Tracer | None) -> Fit:
    if trace is not None:
        return fit if fit.fits else fit.replace(answer=_traced(fit.limit, recipe, run, trace))
    if fit.fits:
        return fit.replace(reach=run.reach(recipe, fit.limit))
    return fit.replace(answer=run.answer(recipe, fit.limit))


def _traced(limit: int, recipe: Recipe, run: answers.Training, trace: Tracer) -> Answer | None:
    """Return an answer that was traced too: the formulas propose it, and aim lower if the trace needs more."""
    target = float(room(limit))
    for _ in range(TRACES):
        found = run.answer(recipe, limit, target)
        if found is None or found.needed > target:
            return None
        needed = trace(found.settings)
        if needed <= room(limit):
            return found.replace(needed=needed, reach=None)
        target = found.needed * room(limit) / needed
    return None
