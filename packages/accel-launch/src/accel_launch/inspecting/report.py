"""Stacks of a run as data, and as text."""

from __future__ import annotations

from accel_config.showing.printable import one_line
from accel_launch.inspecting.groups import Group, grouped, line, spans
from accel_launch.inspecting.places import library
from accel_launch.inspecting.threads import NO_PYTHON, Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from accel_launch.inspecting.snapshot import Process, RankStack, Snapshot
    from accel_launch.inspecting.threads import Thread


MOST = 1 << 22  # bytes of the stacks that a report gets of one standstill
CALLS = (100, 10, 0)  # of main threads, where all of all threads are too much


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return a snapshot as data, in the form that ``docs/stacks.schema.json`` describes."""
    return {
        "at": snapshot.at,
        "groups": [group.as_json() for group in grouped(snapshot.ranks)],
        "ranks": [_rank(stack) for stack in snapshot.ranks],
    }


def within(found: Mapping[str, Any], most: int = MOST) -> list[dict[str, Any]]:
    """Return the ranks of a snapshot as data, of which JSON has at most ``most`` bytes.

    If that isn't enough, there are only main threads, with their innermost calls.
    """
    import json

    ranks: list[dict[str, Any]] = found["ranks"]
    for calls in CALLS:
        if len(json.dumps(ranks)) <= most:
            break
        ranks = [
            {
                **each,
                "process": _shorter(each["process"], calls),
                "children": [_shorter(one, calls) for one in each["children"]],
            }
            for each in ranks
        ]
    return ranks


def _shorter(process: Mapping[str, Any] | None, calls: int) -> dict[str, Any] | None:
    """Return a process with its main thread alone, and with so many calls of it."""
    if process is None:
        return None
    main = [each for each in process["threads"] if each["id"] == process["pid"]]
    return {**process, "threads": [{**each, "frames": each["frames"][:calls]} for each in main]}


def _rank(stack: RankStack) -> dict[str, Any]:
    return {
        "rank": stack.rank,
        "local_rank": stack.local_rank,
        "pid": stack.pid,
        "ended": stack.ended or None,
        "process": None if stack.process is None else _process(stack.process),
        "children": [_process(child) for child in stack.children],
    }


def _process(process: Process) -> dict[str, Any]:
    facts = process.facts
    return {
        "pid": facts.pid,
        "name": facts.name,
        "state": facts.state,
        "cpu_seconds": facts.cpu,
        "system_call": facts.call or None,
        "wait_channel": facts.channel or None,
        "tracer": facts.tracer or None,
        "unread": process.unread or None,
        "threads": [_thread(thread) for thread in process.native or process.threads],
    }


def _thread(thread: Thread) -> dict[str, Any]:
    return {
        "id": thread.id,
        "name": thread.name,
        "active": thread.active,
        "holds_gil": thread.gil,
        "frames": [_frame(frame) for frame in thread.frames],
    }


def _frame(frame: Frame) -> dict[str, Any]:
    found: dict[str, Any] = {"function": frame.function, "file": frame.file, "line": frame.line or None}
    return {**found, "locals": dict(frame.variables)} if frame.variables else found


def text(found: Mapping[str, Any], *, threads: bool = False, variables: bool = False) -> str:
    """Return the groups, then the reasons why processes couldn't be read; with ``threads`` every stack, whole.

    Names and values are the ranks' own, so what would begin a line or move the cursor is shown as an escape.
    """
    ranks = found["ranks"]
    lines = [line(Group.from_json(group), found.get("all_ranks", len(ranks))) for group in found["groups"]]
    lines += [f"not asked: {each}" for each in found.get("unasked", ())]
    lines += [f"the other machines: run accelerate stacks on {where}" for where in (found.get("elsewhere"),) if where]
    processes = [
        (each["rank"], process) for each in ranks for process in (each["process"], *each["children"]) if process
    ]
    reasons: dict[str, list[int]] = {}
    for _, process in processes:
        if process["unread"] and process["unread"] != NO_PYTHON:
            reasons.setdefault(process["unread"], []).append(process["pid"])
    lines += [f"not read: {why} (pid {', '.join(map(str, pids))})" for why, pids in reasons.items()]
    apart = (group for group in map(Group.from_json, found["groups"]) if group.unread and group.unread not in reasons)
    lines += [f"not read: {group.unread} (on {group.host})" for group in apart if group.host]
    if threads or variables:
        for rank, process in processes:
            lines += ["", *_whole(rank, process, every=threads)]
    return "".join(f"{one_line(each)}\n" for each in lines or ["no rank has been started yet"])


def brief(found: Mapping[str, Any], ranks: int, lines: int) -> list[str]:
    """Return the groups, each with the calls of one of its ranks, in at most ``lines`` lines."""
    groups = [Group.from_json(group) for group in found["groups"]]
    stacks = {each["rank"]: _frames(each["process"]) for each in found["ranks"]}
    if len(groups) > lines:
        rest = spans(rank for group in groups[lines - 1 :] for rank in group.ranks)
        return [*(f"  {line(group, ranks)}" for group in groups[: lines - 1]), f"  and ranks {rest} elsewhere"]
    told: list[str] = []
    for place, group in enumerate(groups):
        room = (lines - len(told) - (len(groups) - place)) // (len(groups) - place)
        calls = _cut(stacks[group.ranks[0]], room)
        told += [f"  {line(group, ranks)}", *(f"      {one_line(call)}" for call in calls)]
    return told


def _frames(process: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    """Return the calls of a process's main thread, innermost first."""
    threads = process["threads"] if process else ()
    main = next((thread for thread in threads if process and thread["id"] == process["pid"]), None)
    return main["frames"] if main else ()


def _cut(frames: Sequence[Mapping[str, Any]], room: int) -> list[str]:
    """Return calls, innermost first, in at most ``room`` lines, with one ``...`` for what is left out in a place.

    Before others stay the innermost call, and the user's own: those of libraries above them say less.
    """
    last = len(frames) - 1
    if last < room:
        return [_called(frame) for frame in frames]
    own = [place for place, frame in enumerate(frames) if not library(Frame(frame["function"], frame["file"], 0))]
    kept = {-1, last + 1}
    used = 1  # line, for all that is left out
    for places in ([0], own, range(last + 1)):
        for place in places:
            # A line for the call; what is left out is split in two by it, or is over.
            more = 0 if place in kept else 2 - (place - 1 in kept) - (place + 1 in kept)
            if used + more > room:
                break
            kept.add(place)
            used += more
    told: list[str] = []
    for place, frame in enumerate(frames):
        if place in kept:
            told.append(_called(frame))
        elif place - 1 in kept:
            told.append(_called(frame) if place + 1 in kept else "...")  # one call takes no more room
    return told[:room]


def _called(frame: Mapping[str, Any]) -> str:
    """Return a call in a line; one of C often has no known line."""
    return f"{frame['function']} ({frame['file']}{':{line}'.format(**frame) if frame['line'] else ''})"


def _whole(rank: int, process: Mapping[str, Any], *, every: bool) -> list[str]:
    waits = f", in {process['system_call']}" if process["system_call"] else ""
    lines = [
        (
            f"rank {rank}, pid {process['pid']} ({process['name']}): state {process['state']}{waits}, "
            f"{process['cpu_seconds']:.1f} s of CPU"
        )
    ]
    for thread in process["threads"]:
        if every or thread["id"] == process["pid"]:
            name = " ".join(filter(None, ("thread", thread["id"] and str(thread["id"]), thread["name"])))
            lines.append(f"  {name}{', holds the GIL' if thread['holds_gil'] else ''}")
            for frame in thread["frames"]:
                lines.append(f"    {_called(frame)}")
                lines += [f"      {name} = {value}" for name, value in frame.get("locals", {}).items()]
    return lines
