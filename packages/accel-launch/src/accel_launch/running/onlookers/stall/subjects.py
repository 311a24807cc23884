"""The ranks of a run on this machine, as the supervisor knows them."""

from __future__ import annotations

from accel_launch.inspecting.subject import Subject
from accel_launch.running.engine_record import LIMIT, lines_in, read
from accel_launch.running.report.records import Ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_launch.running.engine_record import EngineRecord
    from accel_launch.running.supervising.event_reader import EventReader


def own(reader: EventReader) -> tuple[Subject, ...]:
    """Return the ranks that the guardian has started."""
    endings = {ending.pid: ending.how for ending in reader.endings}
    return tuple(
        Subject(reader.rank_of(place), place, pid, endings.get(pid, "")) for place, pid in sorted(reader.pids.items())
    )


def recorded(record: EngineRecord) -> tuple[Subject, ...]:
    """Return the ranks that an engine has started, those of its last attempt."""
    found: dict[int, Subject] = {}
    for kind, *numbers, last in lines_in(read(record.fd, LIMIT)):
        rank, local, pid, fourth = map(int, numbers)
        ended = kind == "ended"
        how = Ending.from_wait_status(rank, local, pid, fourth, float(last)).how if ended else ""
        found[local] = Subject(rank, local, pid, how)
    return tuple(found[local] for local in sorted(found))


def decoded(line: bytes) -> list[Subject] | int:
    """Return the ranks that the launcher has told the watcher of, or the number of a question."""
    import json

    found = json.loads(line)
    return found if isinstance(found, int) else [Subject(*values) for values in found]


def prompting(ranks: Sequence[Subject]) -> tuple[int, ...]:
    """Return the ranks of which another thread, or a process below, is at a prompt or under a debugger."""
    from accel_launch.inspecting import kernel

    return tuple(one.rank for one in ranks if not one.ended and kernel.prompts(one.pid))
