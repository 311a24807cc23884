"""Finding a run of this user on this machine, and asking its launcher."""

from __future__ import annotations

import os
import stat

from accel_config.errors import AccelError
from accel_launch.running.onlookers.registry.folder import Folder, clean, home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PATIENCE = 30.0  # seconds for a launcher to answer
FOUND = 10  # names to list in a message
ALONE = (
    "a single process has no launcher to ask, unless it is started with --stall_after; `py-spy dump --pid PID` shows "
    "its stacks"
)


def running(environ: Mapping[str, str]) -> list[Folder]:
    """Return the runs whose launcher answers, the newest first."""
    found: list[tuple[float, Folder]] = []
    clean(home(environ))
    try:
        entries = list(os.scandir(home(environ)))
    except OSError:
        return []
    for entry in entries:
        try:
            facts = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # it has just ended
        folder = Folder(entry.path)
        if stat.S_ISDIR(facts.st_mode) and folder.pid:
            found.append((facts.st_mtime, folder))
    return [folder for _made, folder in sorted(found, key=lambda one: one[0], reverse=True)]


def find(which: str | None, environ: Mapping[str, str]) -> Folder:
    """Return a run; the newest by default.

    ``which`` is its name, an unambiguous beginning of that, or the pid of its launcher or of a process below it.

    Raises:
        AccelError: there is none, or there are several.
    """
    runs = running(environ)
    if not runs:
        raise AccelError(f"no run of this user is running on this machine (none in {home(environ)})", ALONE)
    if which is None:
        return runs[0]
    exact = [run for run in runs if which in (run.name, str(run.pid))]
    if not exact and which.isdecimal():
        exact = [run for run in runs if run.pid in _above(int(which))]
    fitting = exact or [run for run in runs if run.name.startswith(which)]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(f"{run.name} (pid {run.pid})" for run in (fitting or runs)[:FOUND])
    if fitting:
        raise AccelError(f"{which!r} is the beginning of several runs: {names}")
    alone = (ALONE,) if which.isdecimal() and os.path.exists(f"/proc/{which}") else ()
    raise AccelError(f"no run {which!r} is running on this machine; running: {names}", *alone)


def _above(pid: int) -> list[int]:
    """Return the pids of a process's parents, as far as they are known."""
    from accel_launch.machine import process_tree

    found: list[int] = []
    while (facts := process_tree.look(pid)) is not None and facts[0] not in (0, *found):
        pid = facts[0]
        found.append(pid)
    return found


def ask(folder: Folder, question: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a launcher's answer.

    Raises:
        AccelError: it doesn't answer.
    """
    import json

    with _connected(folder) as connection, connection.makefile("rb") as answers:
        connection.settimeout(PATIENCE)
        try:
            connection.sendall(json.dumps(question).encode() + b"\n")
            answer: Mapping[str, Any] = json.loads(answers.readline())
        except (OSError, ValueError):
            raise AccelError(
                f"the launcher of {folder.name} (pid {folder.pid}) doesn't answer: it has ended, or is stopped"
            ) from None
    if "error" in answer:
        raise AccelError(f"the launcher of {folder.name} refuses: {answer['error']}")
    return answer


def _connected(folder: Folder) -> Any:
    import socket

    connection = socket.socket(socket.AF_UNIX)
    try:
        fd = os.open(folder.path, os.O_PATH | os.O_DIRECTORY)
        try:
            connection.connect(folder.address(fd))
        finally:
            os.close(fd)
    except OSError:
        connection.close()
        raise AccelError(f"the launcher of {folder.name} has ended") from None
    return connection
