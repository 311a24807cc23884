"""From a model's name to a report: finds the model, then asks every part for its share.

Parts that not every estimate needs are imported where they are asked: together they take as long as all the rest.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from accel_estimate import devices, local, model, precision, serving
from accel_estimate.blueprint import Blueprint
from accel_estimate.dtypes import TORCH_TO_STORED
from accel_estimate.errors import NoWeightsError, UsageError
from accel_estimate.gguf_config import as_config
from accel_estimate.model import Model
from accel_estimate.precision import DTYPES
from accel_estimate.recipe import Recipe
from accel_estimate.report import Reach, Report
from accel_estimate.serving import Serving
from accel_estimate.tensors import Listing, gather, total
from accel_estimate.weights import Weight, groups, largest, logical, stored_packing


class Ask(NamedTuple):
    """What a report shall hold: the rows of the known table, a training run, serving, and a device to fit."""

    dtypes: Sequence[str] = DTYPES
    training: Recipe | None = None
    serving: Serving | None = None
    device: str | None = None


def load(  # noqa: PLR0913 - all but the name are optional, and given by name
    name: str,
    *,
    revision: str = "main",
    file: str | None = None,
    library: str | None = None,
    trust_remote_code: bool = False,
    progress: Any = None,
) -> Model:
    """Find out what a model's files hold, without reading its weights.

    `name` is a folder, a .safetensors or .gguf file, or a repository (OWNER/NAME) on the Hub. Order of what tells its
    tensors: the headers of its weight files; its config.json, for the families of `families.FAMILIES`; its own code
    in transformers or timm (`library`), on the meta device. `progress` is called with (headers read, headers).

    Raises:
        EstimateError: with one clear message; `status` says whether the user (2) or the world (1) can mend it.

    """
    place = local.find(name)
    if place is None:
        from accel_estimate import hub

        place = hub.repository(name, revision, progress)
    found = model.read(place, file)
    if found.tensors or found.origin:
        return found._replace(config=as_config(found.config, found.tensors))
    return _described(found, revision, library, trust_remote_code=trust_remote_code)


def _described(found: Model, revision: str, library: str | None, *, trust_remote_code: bool) -> Model:
    from accel_estimate import families, layout

    plan = families.blueprint(found.config) if library is None or not trust_remote_code else None
    if plan is not None and not plan.guessed and "text_config" not in found.config:
        dtype = TORCH_TO_STORED.get(str(found.config.get("torch_dtype") or found.config.get("dtype")), "F32")
        tensors, _ = gather([Listing.of(layout.tensors(plan, dtype))])
        return found._replace(
            origin="config.json", tensors=tensors, stored_bytes=found.stored_bytes or total(tensors)
        )
    chosen = library or found.library or ("transformers" if found.config.get("model_type") else None)
    if chosen is None:
        held = "its .bin files tell no shapes" if found.stored_bytes else "it holds no safetensors or GGUF file"
        raise NoWeightsError(
            f"{found.name}: {held}, and there is no config.json that does. If it is a transformers or "
            "timm model, say so with --library_name."
        )
    from accel_estimate import meta

    tensors = meta.tensors(found.name, chosen, revision, trust_remote_code=trust_remote_code)
    return found._replace(
        origin="meta device", tensors=tensors, library=chosen, stored_bytes=found.stored_bytes or total(tensors)
    )


def estimate(found: Model, ask: Ask | None = None) -> Report:
    """Work out a report on a model that `load` found.

    Raises:
        UsageError: something was asked for that cannot be.
        CorruptFileError: the model's config.json contradicts itself.

    """
    ask = ask or Ask()
    weights = logical(found.tensors, found.config)
    grouped = groups(weights, found.config, found.library)
    report = Report(
        found,
        sum(w.parameters for w in weights),
        tuple(precision.rows(weights, grouped, ask.dtypes)),
        largest(grouped),
        notes=found.notes,
    )
    if ask.training is not None:
        report = _trained(report, weights, plan_of(found), ask.training)
    if ask.serving is not None:
        report = _served(report, weights, plan_of(found), ask.serving, ask.device)
    if ask.device is not None:
        report = report._replace(fit=_fit(report, ask.device))
    return report


def plan_of(found: Model) -> Blueprint:
    """Give the blueprint of a model.

    Raises:
        UsageError: its config.json is missing or of no known family.

    """
    from accel_estimate import families

    plan = families.blueprint(found.config)
    if plan is None:
        told = (
            f"its model_type {found.config['model_type']!r} is not known"
            if found.config.get("model_type")
            else "there is no config.json that names its family"
        )
        raise UsageError(
            f"{found.name}: {told}, so only the sizes of its weights can be told, not --training or --serving."
        )
    return plan


def _trained(report: Report, weights: Sequence[Weight], plan: Blueprint, wanted: Recipe) -> Report:
    from accel_estimate import advice, training

    recipe, notes = _as_stored(report.model, wanted)
    done = training.estimate(weights, plan, recipe)
    report = report._replace(training=done, changes=tuple(advice.changes(weights, plan, recipe)))
    return _noted(report._replace(notes=report.notes + notes), plan)


def _as_stored(found: Model, recipe: Recipe) -> tuple[Recipe, tuple[str, ...]]:
    """Take weights that are stored packed as packed, under adapters; say so, and that nothing else trains them."""
    packing = stored_packing(found.config)
    if not packing or recipe.quantize != "none":
        return recipe, ()
    if recipe.trains_all:
        return recipe, ("Its weights are stored packed; to train all of them, they are unpacked first.",)
    return recipe._replace(quantize=packing), (f"Its weights are stored packed: read as --quantize {packing}.",)


def _noted(report: Report, plan: Blueprint) -> Report:
    if not plan.guessed:
        return report
    note = f"The family {plan.family!r} is not known; it was read as a plain decoder."
    return report if note in report.notes else report._replace(notes=(*report.notes, note))


def _served(report: Report, weights: Sequence[Weight], plan: Blueprint, how: Serving, device: str | None) -> Report:
    report = _noted(report._replace(serving=serving.estimate(weights, plan, how)), plan)
    if plan.positions and how.context_len > plan.positions:
        note = f"The model was made for {plan.positions:,} tokens, less than the {how.context_len:,} asked for."
        report = report._replace(notes=(*report.notes, note))
    if device is None:
        return report
    limit = devices.limit(device)
    return report._replace(
        reach=Reach(
            serving.longest_context(weights, plan, how, limit), serving.largest_batch(weights, plan, how, limit)
        )
    )


def _fit(report: Report, device: str) -> devices.Fit:
    limit = devices.limit(device)
    if report.training is not None:
        return devices.Fit(device, limit, report.training.expected, "training")
    if report.serving is not None:
        return devices.Fit(device, limit, report.serving.expected, "serving")
    row = report.rows[0] if report.rows else None
    if row is None:
        return devices.Fit(device, limit, total(report.model.tensors), "weights as stored")
    return devices.Fit(device, limit, row.total_bytes, f"weights in {row.dtype}")
