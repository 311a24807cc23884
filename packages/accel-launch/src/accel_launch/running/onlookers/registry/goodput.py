"""What a run's time was spent on, by its events."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from accel_launch.running.onlookers.registry.reading import Run

STARTING, IMPORTING, RUNNING = "starting", "importing", "running"
STALLED, RESTARTING, ENDING = "stalled", "restarting", "ending"
PHASES: tuple[str, ...] = (STARTING, IMPORTING, RUNNING, STALLED, RESTARTING, ENDING)


def of(run: Run) -> dict[str, float]:
    """Return the seconds of each phase of a run."""
    processes = run.facts.get("processes")
    return spent(run.events(), run.began, run.began + run.age, processes if isinstance(processes, int) else 1)


def spent(events: Iterable[Mapping[str, Any]], began: float, ended: float, count: int) -> dict[str, float]:
    """Return the seconds of each phase between two times; every moment belongs to one.

    A start lasts until all of ``count`` processes are there, imports until the first output, a standstill from when
    something last moved, and an end from the signal or the first rank that fails.
    """
    changes = sorted(_changes(events, began, count), key=lambda change: change[0])
    found: dict[str, float] = dict.fromkeys(PHASES, 0.0)
    for place, (at, phase) in enumerate(changes):
        until = changes[place + 1][0] if place + 1 < len(changes) else ended
        found[phase] += max(0.0, min(until, ended) - max(at, began))
    return found


def _changes(events: Iterable[Mapping[str, Any]], began: float, count: int) -> Iterable[tuple[float, str]]:
    """Yield when which phase began."""
    phase, started = STARTING, 0
    yield began, phase
    for event in events:
        kind, at = event.get("kind"), event["at"]
        before = phase
        if kind == "started":
            started += 1
            phase = IMPORTING if started >= count and phase in (STARTING, RESTARTING) else phase
        elif kind == "prints" and phase in (STARTING, IMPORTING, RESTARTING):
            phase = RUNNING
        elif kind == "stalled" and phase != ENDING:
            phase, at = STALLED, float(event.get("stall", {}).get("since", at))
        elif kind == "moves" and phase == STALLED:
            phase = RUNNING
        elif kind == "signal" or (kind == "ended" and event.get("status")):
            phase = ENDING
        elif kind == "attempt" and event.get("status"):
            phase, started = RESTARTING, 0
        if phase != before:
            yield at, phase


def told(phases: Mapping[str, float]) -> str:
    """Return the phases as a line; those that took no time are left out."""
    whole = sum(phases.values())
    parts = [f"{name} {_lasting(took)} ({took / whole:.0%})" for name, took in phases.items() if took >= whole / 200]
    return f"{_lasting(whole)}: {', '.join(parts)}" if whole else ""


def _lasting(seconds: float) -> str:
    from accel_launch.machine.clock import MINUTES, duration

    return duration(seconds) if seconds >= MINUTES else f"{seconds:.1f} s"
