"""Everything that is estimated of a model, and its form as JSON."""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.formats import tensors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_estimate.answer.answers import Saving
    from accel_estimate.answer.reach import Reach
    from accel_estimate.answer.search import Answer
    from accel_estimate.devices.limits import Fit
    from accel_estimate.devices.runtime import Range
    from accel_estimate.formats.tensors import Group
    from accel_estimate.model.checkpoint import Model
    from accel_estimate.model.sizes import Row
    from accel_estimate.serving.server import ServingEstimate
    from accel_estimate.training.step import TrainingEstimate


class Report(Record):
    """The memory of a model; parts that weren't requested are None."""

    model: Model
    """The model that was read."""
    parameters: int
    """The number of its parameters."""
    rows: tuple[Row, ...]
    """The table of sizes, a row for each number format."""
    largest: Group
    """Its largest layer."""
    training: TrainingEstimate | None = None
    """Memory on each device while it is trained."""
    savings: tuple[Saving, ...] = ()
    """Single changes to the run, each with the bytes that it saves."""
    serving: ServingEstimate | None = None
    """Memory on each device while it is served."""
    reach: Reach | None = None
    """The longest context and the largest batch that the device serves."""
    fit: Fit | None = None
    """Whether it fits the device."""
    notes: tuple[str, ...] = ()
    """What a reader should know about the estimate."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data, all amounts in bytes; `schema.json` in this package describes it."""
        found: dict[str, Any] = {
            "model": self.model.name,
            "parameters": self.parameters,
            "stored_bytes": self.model.stored_bytes,
            "stored": _stored(self),
            "dtypes": {row.dtype: _row(row) for row in self.rows},
        }
        if self.training is not None:
            found["training"] = training_json(self.training, self.savings)
        if self.serving is not None:
            found["serving"] = _serving(self.serving, self.reach)
        if self.fit is not None:
            found["fits"] = fit_json(self.fit)
        if self.notes:
            found["notes"] = list(self.notes)
        return found


def _stored(report: Report) -> dict[str, Any]:
    model = report.model
    return {
        "origin": model.origin,
        "exact": model.exact,
        "by_dtype": tensors.by_dtype(model.tensors),
        "by_component": tensors.by_component(model.tensors),
        "largest_layer": {"name": report.largest.name, "bytes": report.largest.nbytes},
    }


def _row(row: Row) -> dict[str, int | None]:
    return {
        "total_bytes": row.total_bytes,
        "largest_layer_bytes": row.largest_layer_bytes,
        "training_adam_bytes": row.training_adam_bytes,
    }


def training_json(it: TrainingEstimate, savings: tuple[Saving, ...]) -> dict[str, Any]:
    """Return an estimate of training as plain data."""
    found: dict[str, Any] = {
        "source": "trace" if it.traced else "formula",
        "low_bytes": round(it.low),
        "expected_bytes": round(it.expected),
        "high_bytes": round(it.high),
        "components": components(it),
        "peak_moment": it.peak.name,
        "peak_reason": it.peak.why,
        "moments": {moment.name: round(moment.parts.total) for moment in it.moments},
        "allocated_bytes": round(it.allocated[1]),
        "reserved_bytes": round(it.reserved[1]),
        "device_bytes": round(it.expected),
        "ranges": {
            "allocated": _range(it.allocated),
            "reserved": _range(it.reserved),
            "device": _range((it.low, it.expected, it.high)),
        },
        "trainable_parameters": round(it.trainable),
        "savings": [{"change": c.name, "flags": c.flags, "bytes": round(c.saves)} for c in savings],
    }
    if it.expandable is not None:
        found["reserved_expandable_bytes"] = round(it.expandable)
    return found


def _range(amounts: Range) -> dict[str, int]:
    return dict(zip(("low", "expected", "high"), map(round, amounts), strict=True))


def components(it: TrainingEstimate) -> dict[str, int]:
    """Return the bytes of the peak's parts and of the runtime's overhead; their sum is `expected`."""
    parts = {name: round(amount) for name, amount in it.peak.parts}
    return parts | {"overhead": round(it.expected) - sum(parts.values())}


def _serving(it: ServingEstimate, reach: Reach | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "weights_bytes": round(it.weights),
        "kv_cache_bytes": round(it.cache.used),
        "kv_cache_reserved_bytes": round(it.cache.reserved),
        "working_bytes": round(it.working),
        "low_bytes": round(it.low),
        "expected_bytes": round(it.expected),
        "high_bytes": round(it.high),
    }
    if reach is not None:
        found |= _far(reach)
    return found


def fit_json(it: Fit) -> dict[str, Any]:
    """Return whether something fits as plain data."""
    return {
        "device": it.device,
        "of": it.subject,
        "limit_bytes": it.limit,
        "needed_bytes": round(it.needed),
        "margin_bytes": round(it.margin),
        "fits": it.fits,
        "barely_fits": it.barely,
        **_reach(it.reach),
        **({"answer": _answer(it.answer)} if it.answer else {}),
    }


def _answer(it: Answer) -> dict[str, Any]:
    return {
        "flags": it.flags,
        "changes": list(it.changes),
        "cost": it.cost,
        "needed_bytes": round(it.needed),
        "fits": it.fits,
        **({"host_bytes": round(it.host)} if it.host else {}),
        **_reach(it.reach),
    }


def _reach(it: Reach | None) -> dict[str, int]:
    if it is None:
        return {}
    return _far(it) | ({"model_context": it.positions} if it.positions else {})


def _far(it: Reach) -> dict[str, int]:
    length = {} if it.longest_context is None else {"longest_context": it.longest_context}
    return length | {"largest_batch": it.largest_batch}
