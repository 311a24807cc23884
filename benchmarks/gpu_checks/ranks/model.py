"""A point's model, built from its configuration on a device; its weights are drawn at random."""

import contextlib
import gc
import os
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from telling import tell

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from accel_estimate import Recipe
from accel_estimate.tracing import building
from benchmarks.gpu_checks.areas import points
from benchmarks.gpu_checks.driver import Driver

UUID = os.environ.get("GPU_CHECK_UUID", "")
"""Of the device, as the driver writes it."""
LEFT = 64 << 20
"""Bytes that a point may leave behind."""


def built(point: points.Point, how: Recipe, device: str) -> tuple[Any, Any]:
    """Return the configuration and the model."""
    config = building.configured(building.Origin(point.model, points.MODELS[point.model]), how)
    model = building.build(building.Origin(point.model, points.MODELS[point.model]), config, how)
    building.materialize(model, device)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter.data, std=0.02)
    return config, model


def fresh(device: str) -> None:
    """Forget what the last point has left in the allocator."""
    if device == "cuda":
        with contextlib.suppress(AttributeError):  # older ones keep the workspaces
            torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def figures(device: str, before: int) -> dict[str, int | None]:
    """Return torch's own peaks, and what the driver shows of this process now that the allocator holds its most."""
    if device != "cuda":
        return {}
    torch.cuda.synchronize()
    shown = Driver().holders().get(os.getpid())
    if shown is None:  # a container with pids of its own: all that has come since this process began
        used = Driver().used(UUID)
        shown = None if used is None else used - before
    return {
        "allocated": torch.cuda.max_memory_allocated(),
        "reserved": torch.cuda.max_memory_reserved(),
        "device": shown,
    }


def before(device: str) -> int:
    """Return the bytes that others hold on the device, before this process has touched it."""
    return (Driver().used(UUID) or 0) if device == "cuda" else 0


def tried(name: str, device: str, run: Any) -> None:
    """Run a point and tell its figures, or why there are none."""
    try:
        tell(point=name, **run())
    except torch.OutOfMemoryError:
        has = torch.cuda.mem_get_info()[1] if device == "cuda" else 0
        tell(point=name, ran_out=True, has=has, why="out of memory")
    except Exception as error:
        if "CUDA error" in str(error):  # the context is lost: the next point needs another process
            raise
        tell(point=name, broken=True, why=f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}")


def each(run: Any) -> None:
    """Run the points that the command line names, one after the other, on the device that it names first."""
    warnings.simplefilter("ignore")
    device, names = sys.argv[1], sys.argv[2:]
    others = before(device)
    for place, name in enumerate(names):
        tried(name, device, partial(run, name, device, others))
        gc.collect()
        fresh(device)
        left = names[place + 1 :]
        if left and device == "cuda" and torch.cuda.memory_allocated() > LEFT:  # it would be counted again
            os.execv(sys.executable, [sys.executable, sys.argv[0], device, *left])  # noqa: S606
