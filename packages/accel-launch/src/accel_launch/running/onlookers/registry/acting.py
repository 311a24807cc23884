"""Ending a run from outside, waiting for its end, and reading what it prints."""

from __future__ import annotations

import os
import select
import time

from accel_config.errors import FAILED, AccelError
from accel_config.showing.printable import one_line
from accel_launch.machine import process_tree
from accel_launch.ranks.signals import ENDING, ENDS, signal
from accel_launch.ranks.system import calls
from accel_launch.running.onlookers.registry import folder as folders
from accel_launch.running.onlookers.registry import reading
from accel_launch.running.report.records import signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeGuard

    from accel_launch.running.onlookers.registry.reading import Run
    from accel_launch.running.onlookers.registry.record.reader import Reader

LOOK = 0.1  # seconds between two looks at a run whose launcher can't be waited for
AGAIN = 0.5  # seconds between two requests to end at once
LONGEST = 10.0  # seconds for a launcher to end at once, before it is killed
ANSWERS = 2.0  # seconds for a launcher to say where its run is
LEAVING = 2.0  # seconds for a launcher to leave once it has written how its run has ended


def send(run: Run, number: int) -> bool:
    """Send a signal to the launcher of a run, and to no later process of its pid; return whether it was there.

    Raises:
        AccelError: it isn't in reach.
    """
    run.look()
    if run.held and not run.pid:
        raise AccelError(f"the launcher of {run.name} isn't in reach: it runs on another machine or in a container")
    if not run.running:
        return False
    try:
        handle = calls.open_handle(run.pid)
    except ProcessLookupError:
        return False
    except OSError as error:
        raise AccelError(f"the launcher of {run.name} can't be signalled: {error.strerror}", status=FAILED) from None
    try:
        if run.folder.pid != run.pid:  # who holds the lock now is who was opened, if it is the same pid
            return False
        calls.send_by(handle, number)
        if number != signal.SIGCONT and process_tree.stopped(run.pid):
            calls.send_by(handle, signal.SIGCONT)
    except ProcessLookupError:
        return False
    except PermissionError:
        raise AccelError(f"the launcher of {run.name} is another user's", status=FAILED) from None
    finally:
        os.close(handle)
    return True


def end(run: Run, number: int = signal.SIGTERM) -> bool:
    """Ask a run to end by a signal to its launcher, unless it was asked already: a second one would end the grace.

    Return False if it was.

    Raises:
        AccelError: it isn't in reach, or the signal asks for something else.
    """
    if number not in ENDS:
        names = ", ".join(signal_name(one).removeprefix("SIG") for one in ENDING)
        raise AccelError(
            f"signal {number} ends no run in order; {names} do; USR1 and USR2 reach the ranks, which may end by "
            "them; KILL is --now"
        )
    if number in ENDING and asked(run):
        return False
    send(run, number)
    return True


def asked(run: Run) -> bool:
    """Return whether a signal has asked the launcher of a run, which lives, for the end."""
    run.look()
    if not run.running:
        return False
    if not run.pid or process_tree.stopped(run.pid):
        return bool(run.facts.get("ended_by"))
    from accel_launch.running.onlookers.registry import asking

    try:  # its record may be a moment behind
        return bool(asking.ask(run.folder, {"ask": "state"}, ANSWERS).get("ended_by"))
    except AccelError:
        run.look()
        return bool(run.facts.get("ended_by"))


def wait(run: Run, seconds: float | None = None) -> bool:
    """Wait until a run has ended; return False if it hasn't after so many seconds."""
    try:
        lock = os.open(os.path.join(run.folder.path, folders.LOCK), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return _wait(run, seconds)
    try:
        return _wait(run, seconds)
    finally:
        if not run.held and run.status is None:
            run.remember(lock)
        os.close(lock)


def _wait(run: Run, seconds: float | None) -> bool:
    until = None if seconds is None else time.monotonic() + seconds
    leaving: float | None = None
    while True:
        run.look()
        if run.status is not None:
            leaving = leaving or time.monotonic() + LEAVING
        if not run.held or (leaving is not None and time.monotonic() > leaving):
            return True
        left = 60.0 if until is None else until - time.monotonic()
        if left <= 0:
            return False
        _pause(run.pid, min(left, LEAVING if run.status is not None else 60.0))


def _pause(pid: int, seconds: float) -> None:
    """Wait for the end of a process, or, if it can't be seen, a moment."""
    try:
        handle = calls.open_handle(pid) if pid else -1
    except OSError:
        handle = -1
    if handle == -1:
        time.sleep(min(LOOK, seconds))
        return
    try:
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        if poller.poll(seconds * 1000):
            time.sleep(0.005)  # a zombie's lock is free in a moment
    finally:
        os.close(handle)


def ending(run: Run) -> str:
    """Return how a run has ended, in words; why that isn't known, if it has no status."""
    if run.status is None:
        return run.told.partition(": ")[2] if run.locked else "it left no record"
    from accel_launch.running.report.records import signal_name

    finished = (event for event in reversed(run.events()) if event.get("kind") == "finished")
    by = next((event.get("signal") for event in finished), 0)
    return f"terminated by {signal_name(by)}" if isinstance(by, int) and by else f"exit status {run.status}"


def report(run: Run) -> str:
    """Return how a run has ended as its launcher has printed it, with its notes, and what its record lacks."""
    text = run.text(folders.TEXT).strip()
    found: Mapping[str, Any] | None = run.file(folders.REPORT)
    notes = reading.gaps(run) if found is None else found.get("notes")
    lines = [f"  note: {one_line(str(note))}" for note in (notes if _is_list(notes) else ()) if str(note) not in text]
    return "\n".join((text, *lines)).strip("\n")


def _is_list(found: object) -> TypeGuard[list[object]]:
    return isinstance(found, list)


def output(run: Run, *, from_now: bool) -> Reader:
    """Return what reads the output of a run.

    Raises:
        AccelError: its record keeps none.
    """
    from accel_launch.running.onlookers.registry.record import reader

    if not reader.kept(run.folder.path):
        raise AccelError(f"the record of {run.name} keeps no output: it wasn't started with --detach")
    return reader.Reader(run.folder.path, from_now=from_now)


def stop(run: Run, number: int = signal.SIGTERM, *, now: bool = False) -> None:
    """Ask a run to end by a signal to its launcher, and wait for that; ``now``, or SIGKILL, kills its ranks at once.

    Raises:
        AccelError: it isn't in reach, or the signal asks for something else.
    """
    if number == signal.SIGKILL:
        number, now = signal.SIGTERM, True
    end(run, number)
    number = number if number in ENDING else signal.SIGTERM  # ranks may go on after others
    until = time.monotonic() + LONGEST
    while now and send(run, number if time.monotonic() < until else signal.SIGKILL) and not wait(run, AGAIN):
        pass
    wait(run)
