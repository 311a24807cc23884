"""What a run's time was spent on, by its events."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from accel_launch.running.onlookers.registry.reading import Run

    Span = tuple[str, str, float]
    """A phase, the one after it, and its seconds."""
    Change = tuple[float, str]
    """When a phase began, and which."""

STARTING, IMPORTING, RUNNING = "starting", "importing", "running"
STALLED, RESTARTING, ENDING = "stalled", "restarting", "ending"
BEGUN = ("prints", "connects")
"""The events that end the imports."""
UNSEEN = "running includes imports: the ranks printed nothing and opened no connection or device that would end them"
PHASES: tuple[str, ...] = (STARTING, IMPORTING, RUNNING, STALLED, RESTARTING, ENDING)


def of(run: Run) -> dict[str, float]:
    """Return the seconds of each phase of a run."""
    return _sum(_of(run))


def spent(events: Iterable[Mapping[str, Any]], began: float, ended: float, count: int) -> dict[str, float]:
    """Return the seconds of each phase between two times; every moment belongs to one.

    A start lasts until all of ``count`` processes are there, imports until the first output, connection or device, a
    standstill from when something last moved, and an end from the signal or the first rank that fails. Where the end
    of imports was never seen, they are part of the running.
    """
    return _sum(_spans(events, began, ended, count))


def _of(run: Run) -> list[Span]:
    processes, began = run.facts.get("processes"), run.began_at
    count = processes if isinstance(processes, int) else 1
    return _spans(run.events(), began, began + run.age, count)


def _spans(events: Iterable[Mapping[str, Any]], began: float, ended: float, count: int) -> list[Span]:
    changes = _in_order(_changes(events, began, count))
    following = [*changes[1:], (ended, "")]
    return [
        (phase, then, max(0.0, min(until, ended) - max(at, began)))
        for (at, phase), (until, then) in zip(changes, following, strict=True)
    ]


def _sum(spans: Iterable[Span]) -> dict[str, float]:
    found: dict[str, float] = dict.fromkeys(PHASES, 0.0)
    for span in spans:
        found[RUNNING if _unseen(span) else span[0]] += span[2]
    return found


def _unseen(span: Span) -> bool:
    """Return whether imports ended without anybody seeing when."""
    return span[0] == IMPORTING and span[1] not in ("", RUNNING)


def _in_order(changes: list[Change]) -> list[Change]:
    """Return them with none later than the next: a standstill began before what was only noticed meanwhile."""
    found: list[Change] = []
    at = float("inf")
    for change in reversed(changes):
        at = min(at, change[0])
        found.append((at, change[1]))
    return found[::-1]


def _changes(events: Iterable[Mapping[str, Any]], began: float, count: int) -> list[Change]:
    """Return when which phase began, or was seen to, in the order of the events."""
    phase, started, over = STARTING, 0, 0
    found = [(began, phase)]
    for event in events:
        kind, at = event.get("kind"), event["at"]
        before = phase
        if kind == "started":
            started += 1
            phase = IMPORTING if started >= count and phase in (STARTING, RESTARTING) else phase
        elif kind in BEGUN:
            phase = _begun(phase, found)
        elif kind == "stalled" and phase != ENDING:
            phase, at = STALLED, at - _stood(event.get("stall"))
        elif kind == "moves" and phase == STALLED:
            phase = RUNNING
        elif kind == "ended":
            over += 1
            phase = ENDING if event.get("status") or over >= count else phase
        elif kind in ("signal", "finished"):
            phase = ENDING
        elif kind == "attempt" and event.get("status"):
            phase, started, over = RESTARTING, 0, 0
        if phase != before:
            found.append((at, phase))
    return found


def _begun(phase: str, found: list[Change]) -> str:
    """Return the phase after imports were seen to have ended; a standstill may have been found before that."""
    if phase == STALLED and found[-2][1] == IMPORTING:
        found.insert(-1, (found[-1][0], RUNNING))  # nothing has moved since
    return RUNNING if phase in (STARTING, IMPORTING, RESTARTING) else phase


def _stood(stall: Any) -> float:
    """Return for how long nothing had moved when a standstill was found."""
    try:
        return max(0.0, float(stall["at"]) - float(stall["since"]))
    except (TypeError, ValueError, KeyError):  # of another version
        return 0.0


def told(run: Run) -> list[str]:
    """Return lines about the phases of a run; those that took no time are left out."""
    spans = _of(run)
    phases = _sum(spans)
    whole = sum(phases.values())
    if not whole:
        return []
    parts = [f"{name} {_lasting(took)} ({took / whole:.0%})" for name, took in phases.items() if took >= whole / 200]
    unseen = any(_unseen(span) and span[2] >= whole / 200 for span in spans)
    return [f"{_lasting(whole)}: {', '.join(parts)}", *([UNSEEN] if unseen else [])]


def _lasting(seconds: float) -> str:
    from accel_launch.machine.clock import MINUTES, duration

    return duration(seconds) if seconds >= MINUTES else f"{seconds:.1f} s"
