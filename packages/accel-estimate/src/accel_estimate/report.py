"""Everything that was worked out of a model, and its form as JSON."""

from typing import TYPE_CHECKING, Any, NamedTuple

from accel_estimate import tensors
from accel_estimate.devices import Fit
from accel_estimate.model import Model
from accel_estimate.precision import Row
from accel_estimate.serving import Estimate as ServingEstimate
from accel_estimate.tensors import Group

if TYPE_CHECKING:
    from accel_estimate.advice import Change
    from accel_estimate.training import Estimate as TrainingEstimate


class Reach(NamedTuple):
    """How far serving can go on a device."""

    longest_context: int
    largest_batch: int


class Report(NamedTuple):
    """What is known of a model's memory; parts that were not asked for are None."""

    model: Model
    parameters: int
    rows: tuple[Row, ...]
    largest: Group
    training: "TrainingEstimate | None" = None
    changes: "tuple[Change, ...]" = ()
    serving: ServingEstimate | None = None
    reach: Reach | None = None
    fit: Fit | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give it as plain data, all amounts in bytes; `schema.json` in this package describes it."""
        found: dict[str, Any] = {
            "model": self.model.name,
            "parameters": self.parameters,
            "stored_bytes": self.model.stored_bytes,
            "stored": _stored(self),
            "dtypes": {row.dtype: _row(row) for row in self.rows},
        }
        if self.training is not None:
            found["training"] = _training(self.training, self.changes)
        if self.serving is not None:
            found["serving"] = _serving(self.serving, self.reach)
        if self.fit is not None:
            found["fits"] = _fit(self.fit)
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


def _training(it: "TrainingEstimate", changes: "tuple[Change, ...]") -> dict[str, Any]:
    return {
        "low_bytes": round(it.low),
        "expected_bytes": round(it.expected),
        "high_bytes": round(it.high),
        "components": components(it),
        "peak_moment": it.peak.name,
        "peak_reason": it.peak.why,
        "moments": {moment.name: round(moment.parts.total) for moment in it.moments},
        "allocated_bytes": round(it.allocated[1]),
        "reserved_bytes": round(it.reserved[1]),
        "trainable_parameters": round(it.trainable),
        "savings": [{"change": c.name, "flags": c.flags, "bytes": round(c.saves)} for c in changes],
    }


def components(it: "TrainingEstimate") -> dict[str, int]:
    """Give the parts of the peak, and the overhead of the runtime; together they are what is expected."""
    parts = {name: round(amount) for name, amount in it.peak.parts._asdict().items()}
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
        found |= {"longest_context": reach.longest_context, "largest_batch": reach.largest_batch}
    return found


def _fit(it: Fit) -> dict[str, Any]:
    return {
        "device": it.device,
        "of": it.subject,
        "limit_bytes": it.limit,
        "needed_bytes": round(it.needed),
        "margin_bytes": round(it.margin),
        "fits": it.fits,
    }
