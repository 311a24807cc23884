"""The formulas held to traced steps; `python -m tests.estimate.held` prints every kind and the points that are far off.

`--apart` does so for the points that no formula was shaped on, `--drawn` for those that once were so.

measured/traced.json has the points, made by benchmarks/trace_table.py: peaks of a step that torch itself ran without
data. A point that couldn't be traced has the reason instead.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from accel_estimate import Recipe
from accel_estimate.model import families, parameters
from accel_estimate.model.weights import logical
from accel_estimate.training.step import TrainingEstimate, estimate_training

TABLE = Path(__file__).parent / "measured" / "traced.json"
APART, DRAWN = TABLE.with_name("apart.json"), TABLE.with_name("drawn.json")


class Point(NamedTuple):
    model: str
    recipe: str
    traced: dict[str, Any]
    formula: TrainingEstimate

    @property
    def error(self) -> float:
        return self.formula.allocated[1] / self.traced["allocated"] - 1


def recipe(settings: dict[str, Any]) -> Recipe:
    values: dict[str, Any] = {**settings, "lora_targets": tuple(settings.get("lora_targets", ()))}
    return Recipe(**values)


def points(file: Path = TABLE, **settings: Any) -> Iterator[Point]:
    """Yield the points of a file beside what the formulas say with further settings."""
    data = json.loads(file.read_text())
    recipes = {name: recipe(its | settings) for name, its in data["recipes"].items()}
    for model, traced in data["points"].items():
        config = data["models"][model]
        blueprint = families.read(config)
        assert blueprint is not None
        weights = logical(parameters.tensors(blueprint), config)
        for name, point in traced.items():
            if "why" not in point:
                yield Point(model, name, point, estimate_training(weights, blueprint, recipes[name]))


def line(name: str, found: list[Point]) -> str:
    errors = sorted(abs(point.error) for point in found)
    worst = max((point.error for point in found), key=abs)
    near = sum(error <= 0.01 for error in errors) / len(errors)
    return f"| {name} | {len(found)} | {median(errors):.2%} | {near:.0%} | {worst:+.1%} |"


def tables(found: list[Point]) -> str:
    """What the page shows: every kind of point in Markdown."""
    lines: list[str] = []
    for what in ("model", "recipe"):
        groups: dict[str, list[Point]] = defaultdict(list)
        for point in found:
            groups[getattr(point, what)].append(point)
        lines += [f"| {what} | points | median error | within 1 % | furthest |", "| --- | --- | --- | --- | --- |"]
        lines += [*(line(*it) for it in groups.items()), line("all", found), ""]
    return "\n".join(lines)


def apart(found: list[Point]) -> str:
    """What the page shows of the points held apart: all together, and each that is far off."""
    far = [point for point in sorted(found, key=lambda point: -abs(point.error)) if abs(point.error) > 0.01]
    return "\n".join(
        [
            "| points | number | median error | within 1 % | furthest |",
            "| --- | --- | --- | --- | --- |",
            line("all", found),
            *(line(point.recipe, [point]) for point in far),
            "",
        ]
    )


def report(found: list[Point], *, every: bool = False) -> str:
    lines = [tables(found)]
    for point in sorted(found, key=lambda point: -abs(point.error)):
        if every or abs(point.error) > 0.01:
            gib = point.traced["allocated"] / 2**30, point.formula.allocated[1] / 2**30
            lines.append(
                f"{point.error:+7.2%} {gib[0]:7.3f}{gib[1]:8.3f}  {point.model}: {point.recipe}; traced in "
                f"{point.traced['phase']} ({point.traced['cause']}), formula in {point.formula.peak.name}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    file = APART if "--apart" in sys.argv else DRAWN if "--drawn" in sys.argv else TABLE
    print(report(list(points(file)), every="--every" in sys.argv))
