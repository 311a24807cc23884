"""One setting, several values: an estimate for each."""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.errors import UsageError
from accel_estimate.estimation.estimator import estimate
from accel_estimate.estimation.memory_report import Report, components
from accel_estimate.options import SWEPT, swept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from accel_estimate.estimation.ask import Ask
    from accel_estimate.model.checkpoint import Model

MOST = 64


class Point(Record):
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


class Sweep(Record):
    """A setting and its points; `ask` has what they have in common."""

    setting: str
    points: tuple[Point, ...]
    ask: Ask

    @property
    def fits(self) -> bool:
        """Whether every point fits the device; true if there is none."""
        return all(point.report.fit is None or point.report.fit.fits for point in self.points)

    def to_json(self) -> dict[str, Any]:
        """Return plain data: the reports one by one."""
        model = self.points[0].report.model.name
        return {
            "model": model,
            "sweep": self.setting,
            "points": [{"value": point.value, **point.report.to_json()} for point in self.points],
        }


def parse(text: str) -> tuple[str, tuple[int, ...]]:
    """Return the setting and the values of text such as "batch_size=1,2,4".

    Raises:
        UsageError: the text has another form, or the setting can't be swept.

    """
    name, listed = swept(text), text.partition("=")[2]
    if name not in SWEPT:
        raise UsageError(f"--sweep: {name!r} can't be swept; use one of {', '.join(SWEPT)}")
    try:
        values = tuple(int(word) for word in listed.split(","))
    except ValueError:
        raise UsageError(f"--sweep: write {name}=1,2,4, with whole numbers, not {text!r}") from None
    if len(values) > MOST:
        raise UsageError(f"--sweep: {len(values)} values, more than the {MOST} that are accepted")
    return name, values


def run(model: Model, ask: Ask, setting: str, values: Sequence[int]) -> Sweep:
    """Return an estimate for every value.

    Raises:
        UsageError: `ask` has neither training nor serving, or the setting isn't one of theirs.

    """
    bare = ask.replace(answer=False)
    return Sweep(setting, tuple(Point(value, estimate(model, _with(bare, setting, value))) for value in values), ask)


def _with(ask: Ask, setting: str, value: int) -> Ask:
    if ask.training is not None and setting in ask.training._fields:
        return ask.replace(training=ask.training.replace(**{setting: value}))
    if ask.training is None and ask.serving is not None and setting in ask.serving._fields:
        return ask.replace(serving=ask.serving.replace(**{setting: value}))
    kind = "--serving" if setting == "context_len" else "--training"
    raise UsageError(f"--sweep {setting}: needs {kind}")
