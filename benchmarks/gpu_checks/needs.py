"""What a check may need of this machine, and the reason to skip it where that is missing."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.gpu_checks.bench import Bench
    from benchmarks.gpu_checks.check import Check


def _module(name: str) -> Callable[[Bench], str]:
    return lambda _bench: "" if find_spec(name) else f"{name} isn't installed for this Python"


def _library(_bench: Bench) -> str:
    """Look for Hugging Face's library, whose module's name accel-cli has as well."""
    try:
        version("accelerate")
    except PackageNotFoundError:
        return "Hugging Face's accelerate isn't installed for this Python"
    return ""


def _device(_bench: Bench) -> str:
    found = [name for name in os.listdir("/dev") if name.startswith("nvidia") and name[6:].isdecimal()]  # noqa: PTH208
    return "" if found or os.path.exists("/dev/dxg") else "no NVIDIA GPU: /dev has no nvidia0"  # noqa: PTH110


def _driver(bench: Bench) -> str:
    if bench.driver.path is None:
        return "nvidia-smi isn't on PATH"
    return "" if bench.gpus else f"nvidia-smi lists no device; {bench.driver.failed or 'it prints none'}"


def _cuda(bench: Bench) -> str:
    return _device(bench) or _torch(bench) or bench.facts.get("why", "") or ""


def _several(bench: Bench) -> str:
    return "" if len(bench.facts.get("devices", ())) > 1 else "torch sees one CUDA device; this needs two"


def _shared(bench: Bench) -> str:
    mode = next((gpu.compute_mode for gpu in bench.gpus if gpu.uuid == bench.uuid), None)
    alone = mode is not None and mode.startswith(("Exclusive", "Prohibited"))
    return f"the device is in compute mode {mode}: two processes can't share it" if alone else ""


def _mig(bench: Bench) -> str:
    found = [gpu for gpu in bench.gpus if gpu.mig == "Enabled"]
    return "" if found else "MIG isn't on for any device"


_torch = _module("torch")
MISSING: dict[str, Callable[[Bench], str]] = {
    "device": _device,
    "driver": _driver,
    "torch": _torch,
    "cuda": _cuda,
    "two devices": _several,
    "shared": _shared,
    "mig": _mig,
    "accelerate": _library,
    **{name: _module(name) for name in ("sklearn", "transformers")},
}
"""By the name of a need: returns why it isn't met, empty if it is."""
ON_A_DEVICE = ("device", "cuda", "two devices")
"""Needs that a rehearsal leaves out."""


def first(names: Iterable[str], bench: Bench) -> str:
    """Return why the first of some needs that isn't met isn't; empty if all are."""
    return next((why for name in names if (why := MISSING[name](bench))), "")


def missing(check: Check, bench: Bench) -> str:
    """Return why a check can't run here; empty if it can."""
    if bench.rehearse and not check.rehearsed:
        return "it can't be rehearsed: it needs an NVIDIA GPU"
    return first((name for name in check.needs if not (bench.rehearse and name in ON_A_DEVICE)), bench)
