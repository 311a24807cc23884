"""Files in memory between the supervisor and ranks: the record of an engine's ranks, and torch's error files."""

from __future__ import annotations

import os

from accel_launch.ranks.system import calls
from accel_launch.running.report.records import Ending

LIMIT = 1 << 26  # bytes of a record: a million starts and ends
ERROR_LIMIT = 1 << 20  # bytes of an error file, which a rank can fill without end
DIGITS = 9  # of a number in a record
LATEST = 1e11  # seconds since the epoch, in the year 5138


class EngineRecord:
    """The file to which the parents of an engine's ranks append how these start and end; see `ranks.parent`."""

    def __init__(self) -> None:
        """Create it."""
        self.fd = memory_file("accel-record")

    @property
    def attempts(self) -> list[list[Ending]]:
        """How the ranks of each attempt have ended so far."""
        return attempts_in(read(self.fd, LIMIT))

    @property
    def started(self) -> bool:
        """Whether the engine has started ranks."""
        return "started" in read(self.fd, LIMIT)

    @property
    def unended(self) -> tuple[int, ...]:
        """The ranks that started, and whose end isn't recorded."""
        return tuple(sorted(rank for rank, _parent in running_in(read(self.fd, LIMIT)).values()))

    def ranks_of(self, local: int) -> list[int]:
        """Return the rank that the engine gave to a local rank at each start, by arrival for example."""
        lines = lines_in(read(self.fd, LIMIT))
        return [int(words[1]) for words in lines if words[0] == "started" and int(words[2]) == local]

    @property
    def pids(self) -> dict[int, int]:
        """The pids of the ranks, by rank, as they were last started."""
        lines = lines_in(read(self.fd, LIMIT))
        return {int(words[1]): int(words[3]) for words in lines if words[0] == "started"}


def lines_in(text: str) -> list[list[str]]:
    """Return the words of each line that ranks' parents wrote; a script could find the file and write anything."""
    lines = (line.split(" ") for line in text.split("\n"))
    return [words for words in lines if len(words) == 6 and _valid(words)]  # noqa: PLR2004


def _valid(words: list[str]) -> bool:
    """Return whether it is ``started RANK LOCAL PID PARENT ATTEMPT`` or ``ended RANK LOCAL PID WAITSTATUS TIME``."""
    kind, *numbers, last = words
    if not all(number.isdecimal() and len(number) <= DIGITS for number in numbers):
        return False
    try:
        return kind == "started" or (kind == "ended" and 0 <= float(last) < LATEST)
    except ValueError:
        return False


def running_in(text: str) -> dict[int, tuple[int, int]]:
    """Return the ranks whose end isn't recorded: the pid of each, with its rank and the pid of its parent.

    An engine that starts a rank again has ended it, and perhaps killed its parent with it.
    """
    running: dict[int, tuple[int, int]] = {}
    attempt = "-"
    for kind, rank, _local, pid, fourth, last in lines_in(text):
        if kind == "ended":
            running.pop(int(pid), None)
            continue
        again = [other for other, (number, _parent) in running.items() if last != attempt or number == int(rank)]
        for other in again:
            del running[other]
        running[int(pid)] = int(rank), int(fourth)
        attempt = last
    return running


def attempts_in(text: str) -> list[list[Ending]]:
    """Return how the ranks of each attempt ended, from the lines of a record.

    Torch's agent restarts all ranks, and numbers its attempts. Another engine may restart one: then what the others
    have done counts for the new attempt too, until they start again themselves.
    """
    found: list[list[Ending]] = [[]]
    attempt = "0"
    for kind, rank, local, pid, fourth, last in lines_in(text):
        if kind == "ended":
            found[-1].append(Ending.from_wait_status(int(rank), int(local), int(pid), int(fourth), float(last)))
        elif last == "-":
            _start_again(found, int(rank))
        else:
            # The agent counts restarts, but not those for machines that join or leave.
            if last != attempt or any(ending.local_rank == int(local) for ending in found[-1]):
                found.append([])
            attempt = last
    return found


def _start_again(found: list[list[Ending]], rank: int) -> None:
    """Begin an attempt if this rank has ended in the last one, rather than in an earlier one."""
    old = [ending for ending in found[-1] if ending.rank == rank]
    if not old:
        return
    rest = [ending for ending in found[-1] if ending.rank != rank]
    if len(found) > 1 and old[0] in found[-2]:
        found[-1] = rest
    else:
        found.append(rest)


def memory_file(name: str) -> int | None:
    """Create a file in memory: it has a path as long as this process lives, and leaves nothing behind."""
    try:
        return calls.memory_file(name)
    except OSError:
        return None


def read(fd: int | None, limit: int = ERROR_LIMIT) -> str:
    """Return the text of a file in memory, up to a limit in bytes."""
    if fd is None:
        return ""
    size = os.fstat(fd).st_size
    return os.pread(fd, min(size, limit), 0).decode(errors="replace")
