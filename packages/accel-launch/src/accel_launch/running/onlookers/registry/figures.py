"""What a run uses now, and what is known of it as data."""

from __future__ import annotations

import time

from accel_launch.inspecting import kernel
from accel_launch.machine.clock import steady
from accel_launch.running.onlookers.registry import folder as folders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from accel_launch.running.onlookers.registry.reading import Run

    Sample = tuple[float, float]
    """A time in seconds since the epoch, and the seconds of CPU until then."""
    Samples = tuple[Sample | None, Sample | None]


def device_memory(runs: Iterable[Run]) -> Mapping[int, int]:
    """Return the bytes that each process holds on devices; none if no driver is asked."""
    from accel_launch.machine import device_memory

    return device_memory.used() if any(run.running for run in runs) and device_memory.known() else {}


def facts(run: Run, memory: Mapping[int, int], *, brief: bool = False) -> dict[str, Any]:
    """Return what is known of a run, as ``accelerate ps --json`` prints it; ``brief`` leaves out its command."""
    ranks = run.ranks
    state = run.state
    found: dict[str, Any] = {
        "name": run.name,
        "state": state,
        "status": run.status,
        "launcher": run.pid or run.facts.get("launcher"),
        "host": run.facts.get("host"),
        "began": run.began,
        "ended": None if run.running else run.seen,
        "attempt": run.facts.get("attempt", 0),
        "ranks": run.facts.get("count") or 0,
        "running_ranks": len(ranks),
        "pids": {str(rank): pid for rank, pid, _ticks in ranks},
        "cpu": _cores(run, [pid for _rank, pid, _ticks in ranks]),
        "device_memory": sum(memory.get(pid, 0) for _rank, pid, _ticks in ranks) if memory and ranks else None,
        "line": str(run.facts.get("line") or ""),
    }
    if brief:
        return found
    described: Mapping[str, Any] = run.file(folders.RUN) or {}
    return {**found, **{name: described.get(name) for name in ("command", "folder", "machine")}}


def _cores(run: Run, pids: Iterable[int]) -> float | None:
    """Return how many cores the ranks have used since the record's sample before the last; None if none runs."""
    used = cpu(pids)
    if used is None:
        return None
    sample: Any = run.facts.get("sample")
    try:
        at, before = map(float, sample)
    except (TypeError, ValueError):
        at, before = run.began, 0.0
    took = time.time() - at
    return max(0.0, used - before) / took if took > 0 else None


def cpu(pids: Iterable[int]) -> float | None:
    """Return the seconds of CPU that processes have used; None if none of them runs."""
    seen = [found for pid in pids if (found := kernel.stat(f"/proc/{pid}/stat")) is not None and found[1] not in "ZX"]
    return sum(found[2] for found in seen) if seen else None


def sampled(samples: Samples, pids: Iterable[int], pace: float) -> Samples:
    """Return the last two samples of the CPU time of processes, at least ``pace`` seconds apart."""
    last, now = samples[1], steady()
    used = cpu(pids)
    if used is None or (last is not None and now - last[0] < pace):
        return samples
    return last, (now, used)
