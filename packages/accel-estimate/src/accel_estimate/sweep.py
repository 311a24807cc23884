"""One setting, several values: an estimate for each."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from accel_estimate.errors import UsageError
from accel_estimate.estimator import Ask, estimate
from accel_estimate.model import Model
from accel_estimate.options import SWEPT
from accel_estimate.report import Report, components

MOST = 64


class Point(NamedTuple):
    """One value of the setting, with its report."""

    value: int
    report: Report

    @property
    def expected(self) -> float:
        """Bytes expected on one device."""
        return self.total[1]

    @property
    def total(self) -> tuple[float, float, float]:
        """Low, expected and high bytes."""
        it = self.report.training or self.report.serving
        return (it.low, it.expected, it.high) if it else (0.0, 0.0, 0.0)

    @property
    def parts(self) -> dict[str, int]:
        """The expected bytes by component."""
        if self.report.training is not None:
            return components(self.report.training)
        it = self.report.serving
        if it is None:
            return {}
        known = {"weights": round(it.weights), "cache": round(it.cache.used), "working": round(it.working)}
        return known | {"overhead": round(it.expected) - sum(known.values())}


class Sweep(NamedTuple):
    """A setting and its points; `ask` is what they have in common."""

    setting: str
    points: tuple[Point, ...]
    ask: Ask

    @property
    def fits(self) -> bool:
        """Whether every point fits the device, where one was named."""
        return all(point.report.fit is None or point.report.fit.fits for point in self.points)

    def to_json(self) -> dict[str, Any]:
        """Give it as plain data: the reports one by one."""
        model = self.points[0].report.model.name
        return {
            "model": model,
            "sweep": self.setting,
            "points": [{"value": point.value, **point.report.to_json()} for point in self.points],
        }


def parse(text: str) -> tuple[str, tuple[int, ...]]:
    """Read "batch_size=1,2,4" as a setting and its values.

    Raises:
        UsageError: it is not so written, or that setting cannot be swept.

    """
    name, _, listed = text.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    if name == "processes":
        name = "num_processes"
    if name not in SWEPT:
        raise UsageError(f"--sweep: {name!r} is none of {', '.join(SWEPT)}.")
    try:
        values = tuple(int(word) for word in listed.split(","))
    except ValueError:
        raise UsageError(f"--sweep: write {name}=1,2,4, with whole numbers, not {text!r}.") from None
    if len(values) > MOST:
        raise UsageError(f"--sweep: {len(values)} values; {MOST} are the most.")
    return name, values


def run(model: Model, ask: Ask, setting: str, values: Sequence[int]) -> Sweep:
    """Estimate every value.

    Raises:
        UsageError: neither training nor serving was asked for, or the setting is not one of theirs.

    """
    return Sweep(setting, tuple(Point(value, estimate(model, _with(ask, setting, value))) for value in values), ask)


def _with(ask: Ask, setting: str, value: int) -> Ask:
    if ask.training is not None and setting in ask.training._fields:
        return ask._replace(training=ask.training._replace(**{setting: value}))
    if ask.training is None and ask.serving is not None and setting in ask.serving._fields:
        return ask._replace(serving=ask.serving._replace(**{setting: value}))
    kind = "--serving" if setting == "context_len" else "--training"
    raise UsageError(f"--sweep {setting}: needs {kind}.")
