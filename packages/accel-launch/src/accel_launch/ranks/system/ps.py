"""All processes, as ``ps`` lists them, and which of them ranks have left behind."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    raise ImportError("this is the part of POSIX")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Facts = tuple[int, int, int]
    """A process's parent, its session, and when it started, as a number of the date."""

PS, MARK = "/bin/ps", "ACCEL_GUARDIAN"
MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"

_seen: dict[int, int] = {}
"""When each process started that was found below the guardian, by pid."""


def processes() -> dict[int, Facts]:
    """Return the facts of every process but zombies, by pid."""
    listed = map(_parsed, _ps("-A", "pid", "ppid", "stat", "lstart"))
    return {pid: facts for pid, facts in listed if facts is not None}


def look(pid: int) -> Facts | None:
    """Return the facts of a process; None if it has ended by now."""
    found = _ps(str(pid), "pid", "ppid", "stat", "lstart")
    return _parsed(found[0])[1] if found else None


def _parsed(line: bytes) -> tuple[int, Facts | None]:
    pid, parent, state, *start = line.split()
    if state.startswith(b"Z") or len(start) < 5:  # noqa: PLR2004
        return int(pid), None
    _weekday, month, day, clock, year = start
    started = b"%s%02d%02d%s" % (year, MONTHS.index(month) // 4 + 1, int(day), clock.replace(b":", b""))
    return int(pid), (int(parent), _session(int(pid)), int(started))


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def marks() -> dict[str, str]:
    """Return the variables by which what is left of this process's ranks is found."""
    return {MARK: str(os.getpid())}


def strays(session: int, every: Mapping[int, Facts]) -> list[int]:
    """Return what may have lost its parent: what is in the session, was seen below it before, or has its mark.

    ``every`` has the facts of all processes.
    """
    if not session:
        return []
    found = {pid for pid, facts in every.items() if facts[1] == session or _seen.get(pid) == facts[2]} - {session}
    own = every.get(os.getpid())
    orphans = [pid for pid, facts in every.items() if own and facts[0] == 1 and facts[2] >= own[2]]
    mark = f"{MARK}={session}".encode()
    return [*found, *(pid for pid in {*orphans} - found if mark in environ(pid).split(b"\0"))]


def remember(found: Mapping[int, Facts]) -> None:
    """Find these again when their parents have ended."""
    _seen.clear()
    _seen.update((pid, facts[2]) for pid, facts in found.items())


def state(pid: int) -> str:
    """Return the letter for what a process does; an empty text if it has ended."""
    return b"".join(_ps(str(pid), "stat")).decode()[:1]


def catches(_pid: int, _number: int) -> bool:
    """Return False: handlers of others can't be seen here."""
    return False


def usage(pid: int) -> tuple[float, int] | None:
    """Return the seconds of CPU and the bytes of memory that a process has used; None if it has ended."""
    found = b" ".join(_ps(str(pid), "rss", "time")).decode().split()
    if len(found) != 2:  # noqa: PLR2004
        return None
    days, _, clock = found[1].rpartition("-")
    seconds = 0.0
    for part in clock.split(":"):
        seconds = seconds * 60 + float(part)
    return int(days or 0) * 86400 + seconds, int(found[0]) * 1024


def command(pid: int) -> bytes:
    """Return what a process executes."""
    return b"".join(_ps(str(pid), "command"))


def environ(pid: int) -> bytes:
    """Return what a process executes and its variables; not those of the system's own programs."""
    return b"".join(_ps(str(pid), "command", more=("-E",))).replace(b" ", b"\0")


def threads(pid: int) -> int:
    """Return how many threads a process has; 0 if it has ended."""
    return max(0, len(_ps(str(pid), more=("-M",))) - 1)  # below the line of titles


def _ps(which: str, *columns: str, more: tuple[str, ...] = ()) -> list[bytes]:
    """Return the lines of ``ps`` about a process, or about all of them but itself."""
    words = [PS, *(() if which == "-A" else ("-p",)), which, "-ww", *more, *(f"-o{column}=" for column in columns)]
    reader, writer = os.pipe()
    try:
        moved = [(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
        child = os.posix_spawn(PS, words, {"LC_ALL": "C", "PATH": "/bin:/usr/bin"}, file_actions=moved)
    finally:
        os.close(writer)
    with os.fdopen(reader, "rb") as file:
        lines = file.read().splitlines()
    os.waitpid(child, 0)
    own = b"%d" % child
    return [line for line in lines if line.split(None, 1)[:1] != [own]]
