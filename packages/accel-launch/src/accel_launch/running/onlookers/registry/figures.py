"""What a run uses now, and what is known of it as data."""

from __future__ import annotations

import time

from accel_config.errors import AccelError
from accel_launch.machine import process_tree
from accel_launch.machine.files import read
from accel_launch.running.onlookers.registry import asking, reading
from accel_launch.running.onlookers.registry import folder as folders
from accel_launch.running.onlookers.registry.reading import LOST
from accel_launch.running.onlookers.registry.record.states import ENDING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from accel_launch.running.onlookers.registry.reading import Run

    Devices = tuple[Mapping[int, int], Mapping[int, float]]


GUARDIAN = "accel-guardian"  # what the kernel calls it
ANY = 1  # no session of a run: a process in each may be a daemon
ANSWERS = 1.0  # seconds for a launcher to say where its run is


def device_memory(runs: Iterable[Run]) -> Mapping[int, int]:
    """Return the bytes that each process holds on devices; none if no driver is asked."""
    if not any(run.running for run in runs):
        return {}
    from accel_launch.machine import device_memory

    return device_memory.used() if device_memory.known() else {}


def now(run: Run, patience: float = asking.PATIENCE, devices: Devices = ({}, {})) -> dict[str, Any]:
    """Return what a launcher answers of its run and of each rank, with what each one uses of devices.

    Raises:
        AccelError: it doesn't answer within so many seconds.
    """
    found = dict(asking.ask(run.folder, {"ask": "state", "figures": True}, patience))
    memory, busy = devices
    found["figures"] = [
        {**one, "device_memory": memory.get(one["pid"]), "device_use": busy.get(one["pid"])}
        for one in found.get("figures", ())  # a launcher of an older version has none
    ]
    return found


def devices() -> Devices:
    """Return the bytes that each process holds on devices, and how busy these are, by pid; none without a driver."""
    from accel_launch.machine import device_memory

    return (device_memory.used(), device_memory.busy()) if device_memory.known() else ({}, {})


def left(run: Run) -> list[str]:
    """Return the processes for which a run still waits: those that its ranks, which have all ended, have left."""
    if not (run.running and run.pid and run.state == ENDING) or run.ranks:
        return []
    guardians = (pid for pid in process_tree.descendants(run.pid) if read(f"/proc/{pid}/comm").startswith(GUARDIAN))
    below = (pid for guardian in guardians for pid in process_tree.descendants(guardian, session=ANY))
    return [f"{process_tree.title(pid)} (pid {pid})" for pid in below]


def facts(run: Run, memory: Mapping[int, int], *, brief: bool = False) -> dict[str, Any]:
    """Return what is known of a run, as ``accelerate ps --json`` prints it; ``brief`` leaves out its command."""
    if run.held and run.pid and (not run.facts or reading.gaps(run)):  # it is young, or can write no record
        try:
            run.facts = asking.ask(run.folder, {"ask": "state"}, ANSWERS)
        except AccelError:
            pass
    ranks = run.ranks
    state = run.state
    found: dict[str, Any] = {
        "name": run.name,
        "state": state,
        "status": run.status,
        "reason": run.told.partition(": ")[2] or None if state == LOST else None,
        "launcher": run.pid or run.facts.get("launcher"),
        "host": run.facts.get("host"),
        "began": run.began,
        "ended": None if run.running else run.seen,
        "attempt": run.facts.get("attempt", 0),
        "ranks": run.facts.get("count") or 0,
        "running_ranks": len(ranks),
        "pids": {str(rank): pid for rank, pid, _cpu in ranks},
        "cpu": _cores(run, sum(used for _rank, _pid, used in ranks)) if ranks else None,
        "device_memory": sum(memory.get(pid, 0) for _rank, pid, _cpu in ranks) if memory and ranks else None,
        "line": str(run.facts.get("line") or ""),
    }
    if brief:
        return found
    described: Mapping[str, Any] = run.file(folders.RUN) or {}
    return {**found, **{name: described.get(name) for name in ("command", "folder", "machine")}}


def _cores(run: Run, used: float) -> float | None:
    """Return how many cores ranks that have ``used`` so many seconds of CPU used since the record's sample."""
    sample: Any = run.facts.get("sample")
    try:
        at, before = map(float, sample)
    except (TypeError, ValueError):
        at, before = run.began, 0.0
    took = time.time() - at
    return max(0.0, used - before) / took if took > 0 else None
