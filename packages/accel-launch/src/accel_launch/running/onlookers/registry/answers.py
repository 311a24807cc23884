"""What the launcher answers at its socket: see ``docs/runs.schema.json``."""

from __future__ import annotations

import os
import signal

from accel_launch.running.onlookers.registry.desk import TO_SEND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from accel_launch.inspecting.subject import Subject
    from accel_launch.running.onlookers.machines.gathering import Round
    from accel_launch.running.onlookers.machines.station import Station
    from accel_launch.running.onlookers.registry.record.recorder import Recorder


def answer(
    question: Mapping[str, Any],
    recorder: Recorder,
    subjects: Sequence[Subject],
    station: Station | None,
    others: Round | None,
) -> Mapping[str, Any]:
    """Return the answer to a question; in a fork of the launcher.

    Raises:
        ValueError: it isn't one.
    """
    kind = question.get("ask")
    if kind == "stacks":
        return _stacks(question, subjects, station, others)
    if kind == "state":
        return {**recorder.facts(), "launcher": os.getppid()}
    if kind == "events":
        return {"events": recorder.events(_number(question, "after", 0))}
    if kind == "stop":
        number = signal.Signals(_number(question, "signal", signal.SIGTERM))
        return {"signal": int(number), TO_SEND: int(number)}
    raise ValueError(f"ask must be stacks, state, events or stop, not {kind!r}")


def _number(question: Mapping[str, Any], name: str, default: int) -> int:
    found = question.get(name, default)
    if not isinstance(found, int):
        raise ValueError(f"{name} must be a whole number, not {found!r}")
    return found


def _stacks(
    question: Mapping[str, Any], subjects: Sequence[Subject], station: Station | None, others: Round | None
) -> Mapping[str, Any]:
    from accel_launch.inspecting import report, snapshot

    flags = {flag: bool(question.get(flag)) for flag in ("children", "variables", "native")}
    found = report.as_json(snapshot.take(subjects, workers=True, **flags))
    if station is None:
        return found
    from accel_launch.running.onlookers.machines import answering

    return answering.with_others(found, station, others)
