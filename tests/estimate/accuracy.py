"""Estimates compared with published measurements; `python -m tests.estimate.accuracy` prints the whole report.

measured/runs.json and more.json hold the rows. Each source has its statements and the kind of its figure: `allocated`
and `reserved` are torch's own peaks, `device` is what the driver shows, `held` is a server's weights and cache. A part
of more.json is kept apart: the hash of a run decides, and `--apart` prints that part alone. last.json was added when
the formulas were done. `assumed` are settings of a
source or of a row that the hash leaves out, and perhaps another model that stands for it. A file that is named is one that benchmarks/gpu_check.py has measured, such as measured/gpu-h100-80gb-hbm3.json.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from accel_estimate import Recipe
from accel_estimate.devices import cards
from accel_estimate.devices.limits import room
from accel_estimate.devices.runtime import CONTEXT
from accel_estimate.model import families, parameters
from accel_estimate.model.blueprint import Blueprint
from accel_estimate.model.weights import Weight, logical
from accel_estimate.serving.server import estimate_serving
from accel_estimate.serving.settings import Serving
from accel_estimate.training.step import estimate_training

MEASURED = Path(__file__).parent / "measured" / "runs.json"
MORE = MEASURED.with_name("more.json")
LAST = MEASURED.with_name("last.json")
UNITS = {"GB": 10**9, "GiB": 2**30, "1000 MiB": 1000 * 2**20}


Model = tuple[tuple[Weight, ...], Blueprint]


class Row(NamedTuple):
    source: str
    figure: str
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

    @property
    def kind(self) -> str:
        """The publisher, and what the figure counts."""
        return f"{self.source.partition(',')[0]} | {self.figure}"


@cache
def published() -> tuple[dict[str, Any], dict[str, Any], dict[str, Model]]:
    """Return the contents of both files, and all models that they have."""
    old, new = (json.loads(file.read_text()) for file in (MEASURED, MORE))
    return old, new, {name: read(config) for name, config in (old["models"] | new["models"]).items()}


def rows(*, apart: bool = False) -> Iterator[Row]:
    """Yield the rows that formulas may be shaped on, or those kept apart."""
    old, new, models = published()
    for data in (old, new):
        for source in data["sources"]:
            for row in source["rows"]:
                if apart == (data is new and kept_apart(row["model"], source["settings"] | row["settings"])):
                    yield compared(source, row, models)


def own(file: Path) -> Iterator[Row]:
    """Yield the rows of a file by itself, such as one that benchmarks/gpu_check.py has measured."""
    data = json.loads(file.read_text())
    models = {name: read(config) for name, config in data["models"].items()}
    for source in data["sources"]:
        for row in source["rows"]:
            yield compared(source, row, models)


def counted(source: dict[str, Any], row: dict[str, Any], models: dict[str, Model]) -> tuple[Model, dict[str, Any]]:
    """Return a row's model and settings, with what is assumed; a setting that is null has its default."""
    settings = source["settings"] | row["settings"] | source.get("assumed", {}) | row.get("assumed", {})
    model = settings.pop("model", row["model"])
    return models[model], {key: value for key, value in settings.items() if value is not None}


def compared(source: dict[str, Any], row: dict[str, Any], models: dict[str, Model]) -> Row:
    """Return what was measured beside the estimate."""
    serving = source.get("serving", False)
    model, settings = counted(source, row, models)
    low, expected, high = (serve if serving else train)(*model, settings, source["figure"])
    shown = " ".join(f"{key}={value}" for key, value in row["settings"].items())
    figure = "serving, " + source["figure"] if serving else source["figure"]
    measured = row["measured"] * UNITS[source["unit"]]
    return Row(source["source"], figure, row["model"], shown, measured, low, expected, high)


class Short(NamedTuple):
    """A run that ran out of memory, and what its device has."""

    source: str
    model: str
    settings: str
    has: float
    low: float
    expected: float
    high: float

    @property
    def is_answered(self) -> bool:
        """Whether an answer could propose it."""
        return self.expected <= room(int(self.has))


def shorts() -> Iterator[Short]:
    """Yield the published runs that ran out of memory."""
    _, new, models = published()
    for source in new["sources"] + json.loads(LAST.read_text())["sources"]:
        for row in source.get("ran_out", []):
            model, settings = counted(source, row, models)
            card = cards.named(source["device"])
            assert card is not None
            low, expected, high = train(*model, settings, "device")
            shown = " ".join(f"{key}={value}" for key, value in row["settings"].items())
            shown = f"{settings.get('quantize', 'not packed')} {shown}"
            yield Short(source["source"], row["model"], shown, card.given * 2**30, low, expected, high)


def kept_apart(model: str, settings: dict[str, Any]) -> bool:
    """Return whether a run is one of those that no formula is shaped on; all figures of a run go together."""
    run = json.dumps([model, settings], sort_keys=True)
    return sha256(run.encode()).digest()[0] % 3 == 0


def read(config: dict[str, Any]) -> Model:
    blueprint = families.read(config)
    assert blueprint is not None
    return logical(parameters.tensors(blueprint), config), blueprint


def train(
    weights: tuple[Weight, ...], blueprint: Blueprint, settings: dict[str, Any], figure: str
) -> tuple[float, ...]:
    listed: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    done = estimate_training(weights, blueprint, Recipe(**listed))
    if figure == "device":
        return done.low, done.expected, done.high
    return done.allocated if figure == "allocated" else done.reserved


def serve(
    weights: tuple[Weight, ...], blueprint: Blueprint, settings: dict[str, Any], figure: str
) -> tuple[float, ...]:
    done = estimate_serving(weights, blueprint, Serving(**settings))
    if figure == "held":
        return done.weights + done.cache.used, done.weights + done.cache.used, done.high - CONTEXT[2]
    assert figure == "allocated"
    return done.low - CONTEXT[0], done.expected - CONTEXT[1], done.high - CONTEXT[2]


def tables(found: list[Row]) -> str:
    """What the page shows: each publisher, by what its figures count."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in found:
        groups[row.kind].append(row)
    lines = [
        "| publisher | figure | rows | median error | inside | furthest |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, those in (*sorted(groups.items()), ("all | ", found)):
        errors = [abs(row.error) for row in those]
        inside = sum(row.inside for row in those) / len(those)
        furthest = max((row.error for row in those), key=abs)
        lines.append(f"| {name} | {len(those)} | {median(errors):.1%} | {inside:.0%} | {furthest:+.0%} |")
    return "\n".join([*lines, ""])


def out_of_memory(found: list[Short]) -> str:
    """What the page shows of runs that ran out of memory: all together, and each that *expected* lets pass."""
    lines = [
        "| runs that ran out | number | *expected* is above the device | above what an answer uses of it | *high* is |",
        "| --- | --- | --- | --- | --- |",
    ]
    passed = [it for it in found if it.expected <= it.has]
    for name, those in (("all", found), *((f"{it.model}: {it.settings}", [it]) for it in passed)):
        above, highest = sum(it.expected > it.has for it in those), sum(it.high > it.has for it in those)
        lines.append(f"| {name} | {len(those)} | {above} | {sum(not it.is_answered for it in those)} | {highest} |")
    return "\n".join([*lines, ""])


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
    lines += ["", tables(found)]
    lines.append(
        f"{len(found)} rows, GiB. Median error {median(errors):.1%}, nine in ten within "
        f"{errors[int(0.9 * len(errors))]:.1%}, worst {worst.error:+.1%} ({worst.model}: {worst.settings})."
    )
    lines.append(f"{inside} of {len(found)} ({inside / len(found):.0%}) inside low..high.")
    return "\n".join(lines)


if __name__ == "__main__":
    files = [Path(word) for word in sys.argv[1:] if not word.startswith("--")]
    print(report([row for file in files for row in own(file)] or list(rows(apart="--apart" in sys.argv))))
