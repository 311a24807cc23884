"""Estimates compared with published measurements; `python -m tests.estimate.accuracy` prints the whole report.

measured/runs.json holds the rows. Each source has its statements and the kind of its figure: `allocated` and
`reserved` are torch's own peaks, `device` is what the driver shows.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from accel_estimate import Recipe
from accel_estimate.model import families, parameters
from accel_estimate.model.weights import logical
from accel_estimate.training.step import estimate_training

MEASURED = Path(__file__).parent / "measured" / "runs.json"
UNITS = {"GB": 10**9, "GiB": 2**30}


class Row(NamedTuple):
    source: str
    model: str
    settings: str
    measured: float
    low: float
    expected: float
    high: float

    @property
    def error(self) -> float:
        return self.expected / self.measured - 1

    @property
    def inside(self) -> bool:
        return self.low <= self.measured <= self.high


def rows() -> Iterator[Row]:
    data = json.loads(MEASURED.read_text())
    for source in data["sources"]:
        for row in source["rows"]:
            settings: dict[str, Any] = source["settings"] | row["settings"]
            low, expected, high = estimate(data["models"][row["model"]], settings, source["figure"])
            shown = " ".join(f"{key}={value}" for key, value in row["settings"].items())
            measured = row["measured"] * UNITS[source["unit"]]
            yield Row(source["source"], row["model"], shown, measured, low, expected, high)


def estimate(config: dict[str, Any], settings: dict[str, Any], figure: str) -> tuple[float, ...]:
    blueprint = families.read(config)
    assert blueprint is not None
    listed: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    recipe = Recipe(**listed)
    done = estimate_training(logical(parameters.tensors(blueprint), config), blueprint, recipe)
    if figure == "device":
        return done.low, done.expected, done.high
    return done.allocated if figure == "allocated" else done.reserved


def report(found: list[Row]) -> str:
    lines, source = [], ""
    for row in found:
        if row.source != source:
            source = row.source
            lines += ["", source, f"{'measured':>10}{'expected':>10}{'error':>8}  {'low':>7} {'high':>7}"]
        gib = [value / 2**30 for value in (row.measured, row.expected, row.low, row.high)]
        mark = " " if row.inside else "!"
        lines.append(
            f"{gib[0]:10.2f}{gib[1]:10.2f}{row.error:+8.1%} {mark}{gib[2]:7.2f} {gib[3]:7.2f}  {row.model}: {row.settings}"
        )
    errors = sorted(abs(row.error) for row in found)
    worst = max(found, key=lambda row: abs(row.error))
    inside = sum(row.inside for row in found)
    lines.append("")
    lines.append(
        f"{len(found)} rows, GiB. Median error {median(errors):.1%}, nine in ten within "
        f"{errors[int(0.9 * len(errors))]:.1%}, worst {worst.error:+.1%} ({worst.model}: {worst.settings})."
    )
    lines.append(f"{inside} of {len(found)} ({inside / len(found):.0%}) inside low..high.")
    return "\n".join(lines)


if __name__ == "__main__":
    print(report(list(rows())))
