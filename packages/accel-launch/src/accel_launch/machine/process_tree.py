"""Trees of processes: adopt orphans, find every descendant, end a whole tree.

Where no orphan can be adopted, those are found that are in the ranks' session, were seen below one before, or have
the guardian's mark among their variables.

A process id that was collected can be another process's at once. So whoever isn't our own child, which stays a
zombie until we collect it, is signalled by a pidfd, and only if it still is the process that was looked at.
"""

from __future__ import annotations

import errno
import os
import time

from accel_config.showing.printable import one_line
from accel_launch.ranks.system import calls
from accel_launch.ranks.system.prctl import PR_SET_CHILD_SUBREAPER, SIGKILL, prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Facts = tuple[int, int, int]
    """A process's parent, its session, and when it started; see `system`."""

DAEMON = "ACCEL_DAEMON"
"""The variable that a process in a session of its own carries, with the value 1, to be left running."""
KEPT = f"{DAEMON}=1".encode()
NO_PIDFD = (errno.ENOSYS, errno.EPERM, errno.EMFILE, errno.ENFILE)
TITLE = 60  # characters of a title


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent dies, also of one that left the session."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def stopped(pid: int) -> bool:
    """Return whether a process was stopped, as by Ctrl-Z, so that nothing can be awaited from it."""
    return calls.state(pid) in ("T", "t")


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    return [child for child, facts in calls.processes().items() if facts[0] == pid]


def descendants(root: int, session: int = 0) -> dict[int, Facts]:
    """Return every process below ``root`` with its facts, but daemons that a script leaves behind on purpose.

    With ``session``, where the ranks are, these are processes in another one that carry the variable `DAEMON`, and
    all that is below them.
    """
    every = calls.processes()
    below: dict[int, list[int]] = {}
    for pid, facts in every.items():
        below.setdefault(facts[0], []).append(pid)
    found: dict[int, Facts] = {}
    waiting = [root]
    lost = calls.strays(session, every)
    while waiting or lost:
        for pid in below.get(waiting.pop(), ()) if waiting else [lost.pop()]:
            left = session and every[pid][1] != session and KEPT in calls.environ(pid).split(b"\0")
            if pid not in found and pid != root and not left:
                found[pid] = every[pid]
                waiting.append(pid)
    calls.remember(found)
    return found


def title(pid: int) -> str:
    """Return what the process executes, shortened, for a message: a process can call itself anything."""
    return shortened(calls.command(pid)) or "?"


def shortened(command: bytes) -> str:
    """Return the beginning of a command line, safe to print."""
    text = one_line(command.replace(b"\0", b" ").decode(errors="replace").strip())
    return text if len(text) <= TITLE else text[: TITLE - 3] + "..."


def send(child: int, number: int) -> None:
    """Send a signal to a child that we haven't collected; it may have ended."""
    try:
        os.kill(child, number)
    except (ProcessLookupError, PermissionError):
        pass


def send_to(pid: int, facts: Facts, number: int) -> None:
    """Send a signal to the process that had these facts, and to no later one of its pid."""
    try:
        fd = calls.open_handle(pid)
    except OSError as error:
        if error.errno in NO_PIDFD and _same(pid, facts):
            send(pid, number)
        return
    try:
        if _same(pid, facts):
            calls.send_by(fd, number)
    except (ProcessLookupError, PermissionError):
        pass
    finally:
        os.close(fd)


def _same(pid: int, facts: Facts) -> bool:
    """Return whether it is the process that was looked at; its parent and its session can change."""
    now = calls.look(pid)
    return now is not None and now[2] == facts[2]


def reap() -> bool:
    """Collect every child of this process that has ended; return whether any is left."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return True
        except ChildProcessError:
            return False


def kill(found: Mapping[int, Facts]) -> None:
    """Kill these processes."""
    for pid, facts in found.items():
        send_to(pid, facts, SIGKILL)


def kill_tree(root: int, reap: Callable[[], bool], session: int = 0, limit: float = 10.0) -> None:
    """Kill everything below ``root``, again and again until nothing is left but daemons; see `descendants`.

    ``reap`` collects the dead and returns whether ``root`` has any child left to wait for. A process that forks
    faster than one look takes is found at the next look, because ``root`` adopts its orphans.
    """
    if not reap() and calls.ADOPTS:  # who has no child has nothing below, and needs no look at all processes
        return
    until = time.monotonic() + limit
    pause = 0.0005
    while time.monotonic() < until:
        living = descendants(root, session)
        kill(living)
        if not (reap() or not calls.ADOPTS) or not living:
            return
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
