"""One result of what the launchers of all machines have told about the end."""

from __future__ import annotations

import time
from itertools import zip_longest

from accel_config.errors import FAILED, LATER
from accel_config.record import Record
from accel_launch.hosts.carrying.wire import SILENCE
from accel_launch.running.lifeline import failures
from accel_launch.running.lifeline.messages import COUNT, FAILURE, STATUS, TIME, valid, whole
from accel_launch.running.lifeline.remote_failure import LOST, RemoteFailure
from accel_launch.running.report.records import Ending, Result, signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from accel_launch.hosts.link import Link

OF_ALL = ("attempts", "progress", "not_again", "collective_timeout", "lines", "stalls", "differences", "network")
"""Parts of a report that are about the whole run."""
OF_EACH = ("also_raised", "stacks", "cpus")
"""Those about the ranks of one machine."""
RANK = whole(-1, 10_000_000)
OF_SSH = 255  # ssh's own status, and that of a command that a signal has ended
QUIET = SILENCE / 2  # seconds after which a machine doesn't answer any more, though it isn't lost yet
CUT = (
    "no other machine answers any more: the network of this machine, or the way from here, is cut; each of them ends "
    "its ranks by itself"
)
GIVEN_UP = (
    f"the machines have ended their ranks, because nothing came from here for {SILENCE:.0f} s: this launcher was "
    "stopped, or this machine slept"
)
ENDED: dict[str, Any] = {
    "rank": RANK,
    "local_rank": RANK,
    "pid": COUNT,
    "status": whole(0, STATUS),
    "signal": whole(0, 128),
    "at": TIME,
}


class Told(Record):
    """How the run ended on one machine."""

    status: int
    failure: RemoteFailure | None
    endings: tuple[Ending, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    report: Mapping[str, Any]
    """What its own report would have."""


def read(data: Mapping[str, Any], host: str, machine: int) -> Told | None:
    """Return what the launcher of a machine has told; None if it isn't what one of ours sends."""
    failure, ended = data.get("failure"), _list(data.get("endings"))
    named = [dict(zip(ENDED, _list(values), strict=False)) for values in ended]
    right = whole(0, STATUS)(data.get("status")) and all(valid(ENDED, values) for values in named)
    if not right or not (failure is None or (isinstance(failure, dict) and valid(FAILURE, failure))):  # pyright: ignore[reportUnknownArgumentType]
        return None
    problems, notes = (tuple(map(str, _list(data.get(name)))) for name in ("problems", "notes"))
    endings = tuple(Ending(**values, host=host, machine=machine) for values in named)
    return Told(data["status"], RemoteFailure.read(failure), endings, problems, notes, _object(data.get("report")))  # pyright: ignore[reportUnknownArgumentType]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def lost(link: Link) -> RemoteFailure:
    """Return the failure of a machine whose connection has ended without a result."""
    status = link.status or 0
    if link.silent:
        cause = f"machine {link.place.rank}{LOST}silent for {SILENCE:.0f} s"
        return RemoteFailure(link.place.rank, link.name, link.ended_at, FAILED, cause)
    what = "its launcher" if link.place.here else "ssh"
    how = f"was terminated by {signal_name(status - 128)}" if 128 < status < OF_SSH else f"ended with status {status}"  # noqa: PLR2004
    why = "the connection broke, or the launcher there was killed" if status == OF_SSH else "there is no result"
    cause = f"machine {link.place.rank}{LOST}{what} {how}: {why}"
    return RemoteFailure(link.place.rank, link.name, link.ended_at, FAILED, cause)


def cut_off(links: Iterable[Link], told: Mapping[Link, Told | None], now: float) -> RemoteFailure | None:
    """Return the failure of this machine's own network, if none of several others answers at ``now``.

    The first one that is lost isn't to blame then. Now is in monotonic seconds.
    """
    others = [link for link in links if not link.place.here]
    silent = (link not in told and (link.status is not None or now >= link.heard + QUIET) for link in others)
    if len(others) < 2 or not all(silent):  # noqa: PLR2004
        return None
    return RemoteFailure(-1, "", time.time(), FAILED, CUT)


def combined(told: Mapping[str, Told], gone: RemoteFailure | None) -> Result:
    """Return the result of a run that no signal has ended.

    Args:
        told: What each machine has told, by its name.
        gone: The connection that ended without a result before anything else went wrong.
    """
    found = [one.failure for one in told.values() if one.failure is not None]
    ranks = [one for one in found if one.rank is not None]  # a rank's own failure says more than its launcher's
    first = gone or min(ranks or found, key=lambda one: one.at, default=None)
    notes = by_machine({name: one.notes for name, one in told.items()})
    result = Result(0, endings=endings(told), notes=notes, elsewhere=elsewhere(told.values()))
    if first is not None and first.rank is not None:
        failure, its = failures.shown(first), (first.rank, first.pid)
        ending = next((one for one in result.endings if (one.rank, one.pid) == its), failure.ending)
        return result.replace(status=first.status, failure=failure.replace(ending=ending))
    if first is not None and first.cause == CUT:
        return result.replace(status=first.status, problems=(CUT,))
    problems = by_machine({name: one.problems for name, one in told.items()})
    if first is not None and first.status == LATER and gone is None:
        return result.replace(status=LATER)
    if first is not None and not (problems and gone is None):
        return result.replace(status=first.status, failure=failures.shown(first))
    status = max((one.status for one in told.values()), default=FAILED)
    if first is None and status == FAILED and not problems:  # a signal there has a status of its own
        problems = (GIVEN_UP,)
    return result.replace(status=status, problems=problems)


def endings(told: Mapping[str, Told]) -> tuple[Ending, ...]:
    """Return how the ranks of all machines have ended, in that order."""
    return tuple(sorted((ending for one in told.values() for ending in one.endings), key=lambda ending: ending.at))


def elsewhere(told: Iterable[Told]) -> dict[str, Any]:
    """Return what the launchers report of what only they know; the main machine's, if that has it, holds for all."""
    reports = [one.report for one in told]
    found: dict[str, Any] = {}
    for name in OF_ALL:
        values = [report[name] for report in reports if report.get(name)]
        if values:
            found[name] = values[0]
    for name in OF_EACH:
        found[name] = [value for report in reports for value in _list(report.get(name))]
    attempts = zip_longest(*(_list(report.get("earlier_attempts")) for report in reports), fillvalue=())
    found["earlier_attempts"] = [[ending for own in attempt for ending in own] for attempt in attempts]
    return found


def by_machine(lines: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Return each line once: with its machine, unless all machines have it."""
    every = list(map(tuple, lines.values()))
    found = (
        line if len(every) > 1 and all(line in other for other in every) else f"{name}: {line}"
        for name, own in lines.items()
        for line in own
    )
    return tuple(dict.fromkeys(found))
