"""What the launcher answers at its socket: see ``docs/runs.schema.json``."""

from __future__ import annotations

import os

from accel_launch.ranks.signals import ENDING, ENDS, signal
from accel_launch.running.onlookers.registry import ranks
from accel_launch.running.onlookers.registry.desk import TO_SEND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from accel_launch.inspecting.subject import Subject
    from accel_launch.running.onlookers.machines.gathering import Round
    from accel_launch.running.onlookers.machines.station import Station
    from accel_launch.running.onlookers.registry.record.recorder import Recorder
    from accel_launch.running.onlookers.stall.handle import StallWatch


LARGEST = 10_000  # lines and columns of a terminal


def answer(  # noqa: PLR0913
    question: Mapping[str, Any],
    recorder: Recorder,
    subjects: Sequence[Subject],
    station: Station | None,
    others: Round | None,
    *,
    watch: StallWatch | None = None,
) -> Mapping[str, Any]:
    """Return the answer to a question; in a fork of the launcher.

    Raises:
        ValueError: it isn't one.
    """
    kind = question.get("ask")
    if kind == "stacks":
        if watch is not None and _whether(question, "native"):
            return _disturbing(watch, lambda: _stacks(question, subjects, station, others))
        return _stacks(question, subjects, station, others)
    if kind == "state":
        now = {**recorder.facts(), "launcher": os.getppid()}
        return {**now, "figures": ranks.figures(recorder)} if _whether(question, "figures") else now
    if kind == "output":
        return ranks.output(recorder, _number(question, "rank", 0), question.get("after") or ())
    if kind == "events":
        return {"events": recorder.events(_number(question, "after", 0))}
    if kind == "stop":
        number = _number(question, "signal", signal.SIGTERM)
        if number not in ENDS:
            raise ValueError(f"signal must be one of {', '.join(str(int(each)) for each in ENDS)}, not {number}")
        # A second one would end the grace.
        asked = number in ENDING and recorder.ended_by and not _whether(question, "now")
        return {"signal": number, **({} if asked else {TO_SEND: number})}
    if kind == "resize":
        return _resized(recorder, _number(question, "lines", 0), _number(question, "columns", 0))
    raise ValueError(f"ask must be stacks, state, output, events, stop or resize, not {kind!r}")


def _resized(recorder: Recorder, lines: int, columns: int) -> Mapping[str, Any]:
    """Give the ranks' terminals another size; the launcher passes the signal on, by which they learn of it."""
    if not (0 < lines <= LARGEST and 0 < columns <= LARGEST):
        raise ValueError(f"lines and columns must be from 1 to {LARGEST}")
    own = [channel for found in recorder.ranks.channels.values() for channel in found if channel.own is not None]
    for channel in own:
        channel.own = lines, columns
        channel.resize()
    return {"terminals": len(own), **({TO_SEND: int(signal.SIGWINCH)} if own else {})}


def _number(question: Mapping[str, Any], name: str, default: int) -> int:
    found = question.get(name, default)
    if not isinstance(found, int) or isinstance(found, bool):
        raise ValueError(f"{name} must be a whole number, not {found!r}")
    return found


def _whether(question: Mapping[str, Any], name: str) -> bool:
    found = question.get(name, False)
    if not isinstance(found, bool):
        raise ValueError(f"{name} must be true or false, not {found!r}")
    return found


def _disturbing(watch: StallWatch, look: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return what a look is for that stops ranks for a moment; the watcher would take that for progress."""
    watch.disturb()
    try:
        return look()
    finally:
        watch.disturb()


def _stacks(
    question: Mapping[str, Any], subjects: Sequence[Subject], station: Station | None, others: Round | None
) -> Mapping[str, Any]:
    from accel_launch.inspecting import report, snapshot

    flags = {flag: _whether(question, flag) for flag in ("children", "variables", "native")}
    found = report.as_json(snapshot.take(subjects, workers=True, **flags))
    if station is None:
        return found
    from accel_launch.running.onlookers.machines import answering

    return answering.with_others(found, station, others)
