"""Ranks under an engine that outlive their own parents: the guardian collects them, so it knows how they ended."""

from __future__ import annotations

import os
import time

from accel_launch.ranks.system import calls
from accel_launch.running.engine_record import LIMIT, attempts_in, lines_in, read, running_in

ENDED = ("", "Z", "X")  # what a process does that has ended, whether or not somebody has collected it


def note(record: int, pid: int, status: int, *, decided: bool) -> None:
    """Record the wait status of an orphan, if it is a rank whose parent (`ranks.parent`) can't do that any more.

    Open MPI kills the parents of all ranks as soon as one of them has ended, and torch's agent those that are late.
    As long as nothing has failed, and the run wasn't ended (``decided``), a rank that loses its parent is left to
    what the engine makes of it: it would be named as the rank that failed, though it only ended with its parent.
    """
    text = read(record, LIMIT)
    rank, parent = running_in(text).get(pid, (-1, 0))
    # Where the parent lives, a tool of --wrap has ended before its rank, and the parent looks on.
    if rank < 0 or calls.state(parent) not in ENDED:
        return
    if not decided and not any(ending.status for ending in attempts_in(text)[-1]):
        return
    local = next(words[2] for words in reversed(lines_in(text)) if words[0] == "started" and int(words[3]) == pid)
    try:
        # Opened anew, to append: the descriptor is the launcher's, and others write meanwhile.
        fd = os.open(f"/proc/self/fd/{record}", os.O_WRONLY | os.O_APPEND)
    except OSError:
        return
    os.write(fd, f"ended {rank} {local} {pid} {status} {time.time()}\n".encode())
    os.close(fd)
