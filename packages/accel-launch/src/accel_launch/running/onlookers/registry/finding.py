"""The runs of this user: those that run, and those that have ended; and which of them a user means."""

from __future__ import annotations

import os
import stat

from accel_config.errors import FAILED, AccelError
from accel_launch.ranks.system import calls
from accel_launch.running.onlookers.registry import folder as folders
from accel_launch.running.onlookers.registry.folder import home
from accel_launch.running.onlookers.registry.reading import Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FOUND = 10  # names to list in a message
ALONE = "a single process has no launcher to ask, unless it is started with --stall_after or --name"
REMOVED = f"/{folders.LOCK} (deleted)"  # how the kernel calls the lock of a folder that was removed


def every(environ: Mapping[str, str]) -> list[Run]:
    """Return the runs of this user of which something is known, the newest first.

    Raises:
        AccelError: the folder of the records isn't this user's alone.
    """
    return sorted(_all(environ), key=lambda run: run.began, reverse=True)


def _checked(environ: Mapping[str, str]) -> str:
    """Return the folder of the records.

    Raises:
        AccelError: it isn't this user's alone; or this system keeps none.
        OSError: there is none.
    """
    if not calls.SUPERVISES:
        raise AccelError("no run is kept on Windows; launch within WSL, which keeps them", status=FAILED)
    try:
        folders.check(home(environ))
    except PermissionError as error:
        raise AccelError(f"{error.filename}: {error.strerror}", status=FAILED) from None
    return home(environ)


def _all(environ: Mapping[str, str]) -> Iterator[Run]:
    try:
        entries = list(os.scandir(_checked(environ)))
    except PermissionError as error:
        raise AccelError(f"{error.filename}: {error.strerror}", status=FAILED) from None
    except OSError:
        return
    for entry in entries:
        run = _of(entry.path)
        if run is not None and (run.locked or run.facts):
            yield run


def _of(path: str) -> Run | None:
    """Return the run of a folder, which must be this user's."""
    try:
        facts = os.stat(path, follow_symlinks=False)
    except OSError:
        return None  # it has just been removed
    return Run(path, facts.st_mtime) if stat.S_ISDIR(facts.st_mode) and folders.private(facts) else None


def _named_so(which: str, environ: Mapping[str, str]) -> Run | None:
    """Return the run of exactly this name, whatever is known of it."""
    if which in ("", ".", "..") or "/" in which:
        return None
    try:
        run = _of(os.path.join(_checked(environ), which))
    except OSError:
        return None
    return run if run is not None and (run.locked or run.facts) else None


def running(environ: Mapping[str, str]) -> list[Run]:
    """Return the runs whose launcher lives and can be seen from here, the newest first."""
    return [run for run in every(environ) if run.held and run.pid]


def find(which: str | None, environ: Mapping[str, str], *, ended: bool = False) -> Run:
    """Return a run; the newest by default.

    ``which`` is its name, an unambiguous beginning of that, or the pid of its launcher or of a process below it. The
    whole name of any record comes first, so it never means another run. With ``ended`` it may have ended.

    Raises:
        AccelError: there is none, or there are several.
    """
    if which is not None and not which.strip():
        raise AccelError(f"{which!r} isn't the name of a run")
    named = None if which is None else _named_so(which, environ)
    if named is not None:
        if ended or named.running:
            return named
        raise AccelError(f"{named.name} isn't running: {named.told}")
    runs = every(environ) if ended else running(environ)
    fitting = runs[:1] if which is None else _by_pid(which, runs) or [run for run in runs if _begins(run.name, which)]
    if which is not None and not fitting and not ended:
        _check_ended(which, environ)
    if len(fitting) == 1:
        return fitting[0]
    names = _named(fitting or runs)
    if fitting:
        raise AccelError(f"{which!r} is the beginning of several runs: {names}")
    if which is not None:
        _check_kept(which, environ)
    if ended:
        where = f"there is no record of a run of this user in {home(environ)}"
        raise AccelError(f"no run {which!r} is known; known: {names}" if which and runs else where)
    where = f"running: {names}" if runs else f"none is (in {home(environ)})"
    asked = f"no run {which!r} is running on this machine; {where}"
    alone = which is None or (which.isdecimal() and os.path.exists(f"/proc/{which}"))
    none = f"no run of this user is running on this machine (none in {home(environ)})"
    raise AccelError(none if which is None else asked, *((ALONE,) if alone else ()))


def _check_ended(which: str, environ: Mapping[str, str]) -> None:
    """Check that a number isn't the pid of a run that has ended.

    Raises:
        AccelError: it is.
    """
    for run in _by_pid(which, every(environ)):
        raise AccelError(f"{run.name} (launcher {which}) isn't running: {run.told}")


def _check_kept(which: str, environ: Mapping[str, str]) -> None:
    """Check that a pid isn't one of a run that still runs though its folder was removed.

    Raises:
        AccelError: it is.
    """
    pid, runs = int(which) if which.isdecimal() else 0, os.path.realpath(home(environ))
    for each in [pid, *_above(pid)] if pid else ():
        if any(link.startswith(runs) and link.endswith(REMOVED) for link in _opened(each)):
            raise AccelError(
                f"the folder of the run of launcher {each} was removed while it ran, so no command reaches it; "
                f"`kill {each}` ends it in order"
            )


def _opened(pid: int) -> Iterator[str]:
    """Yield what a process has open, as far as one may see that."""
    from contextlib import suppress

    with suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):  # it has just been closed
                yield os.readlink(f"/proc/{pid}/fd/{fd}")


def _begins(name: str, which: str) -> bool:
    """Return whether a name begins so: not in a number, as ``exp1`` would in ``exp10``; a number alone is a pid."""
    number = which[-1:].isdigit() and name[len(which) :][:1].isdigit()
    return name.startswith(which) and not which.isdecimal() and not number


def _by_pid(which: str, runs: Sequence[Run]) -> list[Run]:
    """Return the run whose launcher, or a process below it, has a pid; else the newest whose launcher had it."""
    if not which.isdecimal():
        return []
    living = {run.pid: run for run in runs if run.pid}
    above = [int(which), *_above(int(which))]
    found = [living[pid] for pid in above if pid in living]
    return (
        found[:1] or [run for run in runs if run.here and not run.held and run.facts.get("launcher") == above[0]][:1]
    )


def _named(runs: Sequence[Run]) -> str:
    return ", ".join(f"{run.name} (pid {run.pid})" if run.pid else run.name for run in runs[:FOUND])


def _above(pid: int) -> list[int]:
    """Return the pids of a process's parents, as far as they are known."""
    found: list[int] = []
    while (facts := calls.look(pid)) is not None and facts[0] not in (0, *found):
        pid = facts[0]
        found.append(pid)
    return found
