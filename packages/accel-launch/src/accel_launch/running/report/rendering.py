"""A result as text for standard error, and as JSON."""

from __future__ import annotations

import os

from accel_config.showing.printable import one_line, printable
from accel_launch.inspecting.groups import spans
from accel_launch.machine.clock import local_time
from accel_launch.ranks.signals import signal
from accel_launch.running.report import causes
from accel_launch.running.report.records import signal_name, unstarted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.report.records import Ending, Failure, Result

WIDEST, MOST_LINES = 300, 8  # characters and lines of a message


def text(result: Result, host: str, *, whole: bool = False, color: bool = False) -> str:
    """Return the report of a failure; nothing if there is nothing to report.

    ``whole`` adds the traceback (``--debug``), ``color`` emphasizes the headline. Names of files and functions, and
    whatever else the ranks have made up, begin no line.
    """
    heads = list(result.problems)
    lines: list[str] = []
    failure = result.failure
    if failure is not None:
        ending = failure.ending
        heads.append(
            causes.blameless(failure) or f"{failure.label or _rank(failure, host, result.cpus)} failed first"
        )
        lines.append(f"  cause: {one_line(failure.cause)}")
        lines += [f"  {one_line(line[:WIDEST])}" for line in waited(result)]
        if failure.exception:
            lines += _message(failure.exception)
        if failure.where:
            lines.append(f"  at: {one_line(failure.where)}")
        if failure.last_line and not failure.exception:
            lines.append(f"  last line: {one_line(failure.last_line[:WIDEST])}")
        lines.append(f"  time: {local_time(failure.at or ending.at)}")
        if failure.log:
            lines.append(f"  log: {one_line(failure.log)}")
        blamed = causes.blamed(result)
        others = [] if failure.label else [other for other in result.endings if other.rank not in blamed]
        well = sorted(other.rank for other in others if not other.status and other.at <= ending.at)
        if well and failure.exception:
            lines.append(f"  had ended well: {_named(well)}")
        ended = [other.rank for other in others if other.status]
        victims = sorted(
            rank for rank in ended if not any(one.startswith(unstarted(rank)) for one in result.problems)
        )
        if victims:
            lines.append(f"  terminated as a result: {_named(victims)}")
        if result.not_again:
            lines.append(f"  {one_line(result.not_again)}")
        if whole and failure.traceback:
            lines += ["", failure.traceback.rstrip()]
    bold, plain = ("\x1b[1;31m", "\x1b[0m") if color else ("", "")
    emphasized = [f"{bold}accel: {printable(head)}{plain}" for head in heads]
    return "".join(line + "\n" for line in [*emphasized, *map(printable, (*lines, *_table(result.outcomes)))])


def closing(result: Result) -> str:
    """Return the line about a run that a signal ended: what ended, and how long that took; nothing for other runs."""
    if not result.signal:
        return ""
    name = "interrupted" if result.signal == signal.SIGINT else f"terminated by {signal_name(result.signal)}"
    ranks = sorted(ending.rank for ending in result.endings if ending.rank >= 0)
    if not ranks or result.at is None:
        return f"accel: {name}\n"
    took = max(0.0, max(ending.at for ending in result.endings) - result.at)
    killed = sorted(ending.rank for ending in result.endings if ending.signal == signal.SIGKILL and ending.rank >= 0)
    by_force = f", {_named(killed)} killed" if killed else ""
    return f"accel: {name}; {_named(ranks)} ended in {took:.1f} s{by_force}\n"


def queued(result: Result) -> str:
    """Return the line about a run that asks to be queued again; nothing for other runs."""
    if not result.later:
        return ""
    asking, others = (
        sorted(ending.rank for ending in result.endings if ending.rank >= 0 and getattr(ending, kind))
        for kind in ("later", "failed")
    )
    where = f" on {_named(asking)}" if asking else " elsewhere"
    victims = f"; terminated as a result: {_named(others)}" if others else ""
    return f"accel: the run asks to be queued again (exit status {result.status}{where}{victims})\n"


def retrospect(result: Result) -> str:
    """Return the line about a run of several attempts: how many, and how much of the time was progress."""
    if len(result.attempts) < 2 or result.progress is None:  # noqa: PLR2004
        return ""
    took = result.attempts[-1].ended - result.attempts[0].began
    return f"accel: {len(result.attempts)} attempts; {result.progress:.0%} of {took:.1f} s was progress\n"


def _named(ranks: list[int]) -> str:
    return f"{'rank' if len(ranks) == 1 else 'ranks'} {spans(ranks)}"


def _message(exception: str) -> list[str]:
    """Return the lines for an exception; the middle of a long message is left out."""
    said = [line[:WIDEST] for line in exception.splitlines()]
    if len(said) > MOST_LINES:
        said[MOST_LINES - 2 : -1] = [f"... ({len(said) - MOST_LINES + 1} more lines)"]
    return [f"  exception: {said[0]}", *(f"    {line}".rstrip() for line in said[1:])]


def _rank(failure: Failure, host: str, cpus: tuple[str, ...]) -> str:
    ending = failure.ending
    device = f", {failure.device}" if failure.device else ""
    if not failure.host and ending.local_rank < len(cpus):
        device += f", CPUs {cpus[ending.local_rank]}"
    machine = f"machine {failure.machine}, " if failure.machine is not None else ""
    process = f"pid {ending.pid}, host {failure.host or host}{device}"
    return f"rank {ending.rank} ({machine}local rank {ending.local_rank}, {process})"


def _table(outcomes: tuple[tuple[str, str], ...]) -> list[str]:
    wide = max((len(label) for label, _outcome in outcomes), default=0)
    return [one_line(f"accel: {label:<{wide}}  {outcome}") for label, outcome in outcomes]


def waited(result: Result) -> list[str]:
    """Return the lines about the last collectives of a run that failed by a wait in one."""
    known = result.collective_timeout
    return list(result.elsewhere.get("lines", ())) if known is None else known.lines


def as_json(result: Result, host: str) -> str:
    """Return the whole result as JSON, in the form that ``docs/report.schema.json`` describes."""
    import json

    return json.dumps(data(result, host), indent=2) + "\n"


def data(result: Result, host: str) -> dict[str, object]:
    """Return the whole result as plain data."""
    found: dict[str, object] = {
        "status": result.status,
        "signal": signal_name(result.signal) if result.signal else None,
        "failure": None if result.failure is None else _failure(result.failure, host),
        "also_raised": [dict(raised) for raised in result.also_raised],
        "ranks": [_ending(ending, host) for ending in result.endings],
        "earlier_attempts": [[_ending(ending, host) for ending in attempt] for attempt in result.earlier],
        "attempts": [dict(attempt) for attempt in result.attempts],
        "progress": result.progress,
        "not_again": result.not_again or None,
        "problems": list(result.problems),
        "notes": [*result.printed, *result.notes],
        "collective_timeout": None if result.collective_timeout is None else result.collective_timeout.as_json(),
        "stalls": [{**stall.as_json(), "stacks": list(stall.stacks)} for stall in result.stalls],
        "stacks": list(result.stacks),
        "differences": [difference.as_json() for difference in result.differences],
        "network": [dict(link) for link in result.network],
        "outcomes": dict(result.outcomes),
        "cpus": list(result.cpus),
    }
    return {**found, **{name: told for name, told in result.elsewhere.items() if name in found}}


def _failure(failure: Failure, host: str) -> dict[str, object]:
    return {
        **_ending(failure.ending, host),
        "host": failure.host or host,
        "machine": failure.machine,
        "device": failure.device,
        "label": failure.label or None,
        "cause": failure.cause,
        "exception": failure.exception or None,
        "where": failure.where or None,
        "traceback": failure.traceback or None,
        "last_line": failure.last_line or None,
        "log": failure.log,
    }


def _ending(ending: Ending, host: str) -> dict[str, object]:
    return {
        "rank": ending.rank,
        "local_rank": ending.local_rank,
        "pid": ending.pid,
        "exit_status": None if ending.signal else ending.status,
        "signal": signal_name(ending.signal) if ending.signal else None,
        "time": ending.at,
        "host": ending.host or host,
        "machine": ending.machine,
    }


def save(result: Result, host: str, path: str) -> None:
    """Write the result as JSON to ``path``, whole or not at all.

    Raises:
        AccelError: the file can't be written.
    """
    from accel_config.writing import storage

    storage.replace(os.path.abspath(os.path.expanduser(path)), as_json(result, host).encode())
