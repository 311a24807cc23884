"""Memory: what torch and the driver count on the device, beside the formulas and the trace."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.gpu_checks.areas import points
from benchmarks.gpu_checks.bench import GIB, RANKS, Bench, gib, told
from benchmarks.gpu_checks.check import BROKEN, NO, YES, NotSeenError, Row, check, not_seen, row

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.gpu_checks.areas.points import Point

Range = tuple[float, float, float]
FIGURES = ("allocated", "reserved", "device")
TRACED = 0.02
"""How far the allocated peak may be from the trace's, as a part of it; and `SPACE` bytes more."""
SPACE = 64 << 20
"""What cuBLAS's workspaces and kernels take (`accel_estimate.devices.runtime.WORKSPACES`)."""


def formula(point: Point) -> dict[str, Range]:
    """Return low, expected and high of each figure of a training point."""
    from accel_estimate.training.step import estimate_training

    done = estimate_training(*described(point), points.recipe(point))
    return {"allocated": done.allocated, "reserved": done.reserved, "device": (done.low, done.expected, done.high)}


def served(point: Point) -> tuple[Range, float]:
    """Return low, expected and high of what a server allocates, and the bytes of its cache."""
    from accel_estimate import Serving
    from accel_estimate.devices.runtime import CONTEXT
    from accel_estimate.serving.server import estimate_serving

    done = estimate_serving(*described(point), Serving(dtype="bfloat16", **point.settings))
    low, expected, high = (
        size - own for size, own in zip((done.low, done.expected, done.high), CONTEXT, strict=True)
    )
    return (low, expected, high), done.cache.used


def described(point: Point) -> tuple[Any, Any]:
    """Return weights and blueprint of a point's model."""
    from accel_estimate.model import families, parameters
    from accel_estimate.model.weights import logical

    config = dict(points.MODELS[point.model])
    blueprint = families.read(config)
    assert blueprint is not None
    return logical(parameters.tensors(blueprint), config), blueprint


def fits(bench: Bench, expected: float) -> bool:
    """Return whether a point fits the device, with a twelfth to spare."""
    free = bench.facts.get("free")
    return free is None or expected < free / 1.12


def measured(bench: Bench, script: str, names: list[str], seconds: float) -> Iterator[dict[str, Any]]:
    """Yield what is told of each point; a process that dies of one goes on with the next in another process."""
    left, until = list(names), time.monotonic() + seconds
    while left and time.monotonic() < until:
        file = bench.folder / f"{script}-{len(left)}.out"
        with file.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(RANKS / script), bench.device, *left],
                stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=bench.folder,
                env={**bench.environ, "GPU_CHECK_UUID": bench.uuid},
            )  # fmt: skip
        try:
            process.wait(until - time.monotonic())
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        found = [one for one in told(file.read_text(errors="replace")) if "point" in one]
        yield from found
        done = {one["point"] for one in found}
        left = [name for name in left if name not in done]
        if process.returncode and left and time.monotonic() < until:
            lines = file.read_text(errors="replace").strip().splitlines() or ["it printed nothing"]
            yield {
                "point": left.pop(0),
                "broken": True,
                "why": f"its process ended with {process.returncode}: {lines[-1][:200]}",
            }


def traces(bench: Bench, names: list[str]) -> list[tuple[Any, Any]]:
    """Start to trace points on the CPU, in several processes beside those on the device."""
    count = max(1, min(8, (os.cpu_count() or 1) // 2, len(names)))
    started: list[tuple[Any, Any]] = []
    for place in range(count):
        file = bench.folder / f"trace-{place}.out"
        with file.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(RANKS / "trace_points.py"), *names[place::count]],
                stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=bench.folder,
                env={**bench.environ, "CUDA_VISIBLE_DEVICES": ""},
            )  # fmt: skip
        started.append((process, file))
    return started


def collected(started: list[tuple[Any, Any]], seconds: float) -> dict[str, dict[str, Any]]:
    """Return what traces have told by then, by the point's name."""
    until = time.monotonic() + seconds
    for process, _file in started:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    texts = [file.read_text(errors="replace") for _process, file in started]
    return {one["point"]: one for text in texts for one in told(text)}


@check("Training takes the memory that formulas and trace say", seconds=280, needs=("cuda", "torch", "transformers"))
def training(bench: Bench) -> Iterator[Row]:
    """Train two steps of each point on the device, and trace it on the CPU meanwhile."""
    known = points.TINY_TRAINING if bench.rehearse else points.TRAINING
    said = {name: formula(point) for name, point in known.items()}
    here = [name for name in known if fits(bench, said[name]["device"][1])]
    lora = [name for name in here if known[name].settings.get("lora_rank")]
    from importlib.util import find_spec

    if find_spec("peft") is None:
        here = [name for name in here if name not in lora]
    started = traces(bench, here)
    seen = {one["point"]: one for one in measured(bench, "train_points.py", here, 0.75 * bench.seconds)}
    found = collected(started, 0.15 * bench.seconds)
    for name, point in known.items():
        claim = f"Training {name}: within low and high"
        if name not in here:
            why = (
                "peft isn't installed"
                if name in lora
                else f"it needs {gib(said[name]['device'][1])}, more than is free"
            )
            yield not_seen(claim, why)
        else:
            yield within(
                claim, point, said[name], seen.get(name, {"why": "no time was left for it"}), found.get(name)
            )
    yield from summed(seen, said, found)


@check("Serving takes the memory that the formulas say", seconds=150, needs=("cuda", "torch", "transformers"))
def serving(bench: Bench) -> Iterator[Row]:
    """Generate with transformers' cache up to the context's length."""
    known = points.TINY_SERVING if bench.rehearse else points.SERVING
    said = {name: served(point) for name, point in known.items()}
    here = [name for name in known if fits(bench, said[name][0][1])]
    seen = {one["point"]: one for one in measured(bench, "serve_points.py", here, 0.9 * bench.seconds)}
    if not seen and here:
        raise NotSeenError("no point was served in time")
    for name, point in known.items():
        one = seen.get(name, {"why": "it doesn't fit the device, or no time was left"})
        claim = f"Serving {name}: its cache is as large as the formula says"
        # The last token that is generated is in no cache.
        length = point.settings["context_len"]
        expected = served(point._replace(settings={**point.settings, "context_len": length - 1}))[1]
        if "cache" in one:
            took = one["cache"]
            yield row(claim, f"{expected:,.0f} bytes", f"{took:,.0f} bytes", took == expected)
        else:
            yield not_seen(claim, one.get("why", "it wasn't told"))
        yield within(f"Serving {name}: within low and high", point, {"allocated": said[name][0]}, one, None)


def within(
    claim: str, point: Point, said: Mapping[str, Range], seen: dict[str, Any], trace: dict[str, Any] | None
) -> Row:
    """Return the row of a point: each figure that was seen is between low and high."""
    expected = ", ".join(f"{name} {low / GIB:.2f}-{high / GIB:.2f}" for name, (low, _, high) in said.items()) + " GiB"
    shown = "; ".join(f"{name} {gib(seen[name])}" for name in FIGURES if seen.get(name))
    data = {"point": point.name, "model": point.model, "settings": dict(point.settings), "trace": trace, **seen}
    if seen.get("ran_out"):
        right = seen["has"] < said.get("device", said["allocated"])[2]
        return Row(claim, expected, f"out of memory with {gib(seen['has'])}", YES if right else NO, data=data)
    if seen.get("broken"):
        return Row(claim, expected, seen["why"], BROKEN)
    if not shown:
        return not_seen(claim, seen.get("why") or "a rehearsal measures nothing, but this point ran")
    right = all(low <= seen[name] <= high for name, (low, _, high) in said.items() if seen.get(name))
    if trace and "allocated" in trace:
        shown += f" (traced: allocated {gib(trace['allocated'][1])}, reserved {gib(trace['reserved'][1])})"
    return Row(claim, expected, shown, YES if right else NO, seen.get("allocated", 0) / GIB, "GiB", data)


def summed(
    seen: Mapping[str, dict[str, Any]], said: Mapping[str, Mapping[str, Range]], found: Mapping[str, Any]
) -> Iterator[Row]:
    """Yield what all points together say of the formulas and of the trace."""
    real = {name: one for name, one in seen.items() if one.get("allocated")}
    for figure in FIGURES:
        errors: list[float] = [
            said[name][figure][1] / one[figure] - 1 for name, one in real.items() if one.get(figure)
        ]
        claim = f"Half of the formulas are within a tenth: {figure}"
        if not errors:
            yield not_seen(claim, "nothing was measured")
            continue
        middle = median(map(abs, errors))
        text = f"median error {middle:.1%} of {len(errors)}, furthest {max(errors, key=abs):+.0%}"
        yield row(claim, "a median error of 10 % at most", text, middle <= 0.1, number=100 * middle, unit="%")
    failed = [f"{name}: {one['why']}" for name, one in found.items() if "why" in one]
    if found:
        yield row(
            "Every point can be traced", "none fails", "; ".join(failed) or f"none of {len(found)} fails", not failed
        )
    found = {name: one for name, one in found.items() if "allocated" in one}
    for figure, claim in {
        "allocated": "The trace's allocated peak is exact but for workspaces",
        "reserved": "Reserved memory is at most 15 % above the trace's",
    }.items():
        pairs = {
            name: (one[figure], found[name][figure])
            for name, one in real.items()
            if name in found and one.get(figure)
        }
        if not pairs:
            yield not_seen(claim, "nothing was measured and traced")
            continue
        far = {
            name: size / most[1] - 1
            for name, (size, most) in pairs.items()
            if (abs(size - most[1]) > TRACED * most[1] + SPACE if figure == "allocated" else size > most[2] + SPACE)
        }
        text = "; ".join(f"{name} {error:+.1%}" for name, error in far.items())
        expected = "within 2 % and 64 MiB" if figure == "allocated" else "below high"
        yield row(claim, f"{expected}, all {len(pairs)}", f"{len(pairs) - len(far)} of {len(pairs)} {text}", not far)
