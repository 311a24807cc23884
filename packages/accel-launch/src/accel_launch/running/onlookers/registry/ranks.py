"""What each rank does, uses and prints now, as its launcher answers it: see ``docs/runs.schema.json``."""

from __future__ import annotations

import codecs

from accel_launch.inspecting import kernel
from accel_launch.ranks.system import calls
from accel_launch.running.onlookers.registry.record.writing import last_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from accel_launch.inspecting.subject import Subject
    from accel_launch.running.onlookers.registry.record.recorder import Recorder
    from accel_launch.running.output.channel import Channel

STOPPED = {"T": "stopped", "t": "debugged"}
"""States of the kernel in which a process doesn't run, and what we call them."""


def figures(recorder: Recorder) -> list[dict[str, Any]]:
    """Return what each rank does and uses; in a fork of the launcher."""
    ranks, doing = recorder.ranks, recorder.states.doing
    return [_figures(one, ranks.channels.get(one.local_rank, ()), doing) for one in ranks.subjects()]


def _figures(one: Subject, channels: Sequence[Channel], doing: Mapping[int, str]) -> dict[str, Any]:
    seen = None if one.ended else kernel.process(one.pid)
    over = one.ended != "" or seen is None or seen[1] in kernel.ENDED
    cpu, memory = (None if over else calls.usage(one.pid)) or (None, None)
    running = doing.get(one.rank) or (STOPPED.get(seen[1]) if seen is not None else None) or "running"
    return {
        "rank": one.rank,
        "local_rank": one.local_rank,
        "pid": one.pid,
        "state": "ended" if over else running,
        "ended": one.ended or None,
        "cpu": cpu,
        "memory": memory,
        "printed": sum(channel.written for channel in channels),
        "line": last_line(channels),
    }


def output(recorder: Recorder, rank: int, after: Sequence[Any]) -> dict[str, Any]:
    """Return the end of what a rank has printed, without what had come before; in a fork of the launcher.

    ``after`` is where each of its streams was when it was last asked for, as the answer said then.

    Raises:
        ValueError: there is no such rank.
    """
    one = next((one for one in recorder.ranks.subjects() if one.rank == rank), None)
    if one is None:
        raise ValueError(f"no rank {rank} has been started on this machine")
    if not isinstance(after, (list, tuple)) or any(type(number) is not int for number in after):
        raise ValueError(f"after must be a list of whole numbers, not {after!r}")
    before = [max(0, number) for number in after]
    channels = recorder.ranks.channels.get(one.local_rank, ())
    before += [0] * len(channels)
    return {
        "attempt": recorder.states.attempt,
        "output": [_since(channel, place) for channel, place in zip(channels, before, strict=False)],
    }


def _since(channel: Channel, place: int) -> dict[str, Any]:
    """Return what has come since a place, up to a whole character, and how much of it isn't kept any more."""
    new = max(0, channel.written - place)
    data = channel.end[-new:] if new else b""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    begin, lost, parts = channel.written - len(data), new - len(data), list[tuple[str, float]]()
    for until, at in channel.bursts:
        if until > begin:
            parts.append((decoder.decode(data[: until - begin]), at))
            begin, data = until, data[until - begin :]
    return {
        "until": channel.written - len(decoder.getstate()[0]),
        "lost": lost,
        "text": "".join(text for text, _at in parts),
        "times": [[len(text), at] for text, at in parts],
    }
