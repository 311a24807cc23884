"""The Python stacks of processes, read from outside by py-spy: nothing runs in them, and nothing of them changes.

py-spy is a program. It reads the memory of a process of the same user without stopping it, and is started for all
processes at once. Calls of C are read by `native`.
"""

from __future__ import annotations

import os
import select
import subprocess  # noqa: TID251  the sampler is a program
import sys
import time

from accel_launch.inspecting import numbers
from accel_launch.inspecting.threads import NO_CALLS, NO_PYTHON, Frame, Sampled, Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

TIMEOUT = 10.0  # seconds for the sampler; it takes 10 ms for a process, but reads the files of libraries first
SOON = 0.01  # seconds for an answer that may be there already
OWN = os.path.join(os.path.dirname(os.path.dirname(__file__)), "ranks", "")
"""Where our programs are that run in ranks, and call what the user has written."""
LARGEST = 1 << 24  # bytes of an answer: those of a thousand threads
LATE = "py-spy gave no answer in time"
TOO_LARGE = f"its stacks have more than {LARGEST >> 20} MB"
AT_ONCE = 32  # samplers: each takes descriptors of ours, of which there may be few
THREAD = "thread ("  # what the outermost call of each stack of a sweep begins with: it names the thread
MALFORMED = (LookupError, TypeError, AttributeError, ValueError, OverflowError, RecursionError)
"""What reading an answer of another form than py-spy's raises."""
LATER = 60.0  # seconds in which a process whose answer was too large isn't read again: that takes several
RETRIES = 3  # a process that runs may change what is being read


_large: dict[int, float] = {}
"""Until when such processes aren't read, in monotonic seconds."""


class Unread(Exception):
    """A process whose stacks can't be read; the message says why."""


def program() -> str | None:
    """Return the path of py-spy: beside this interpreter, else on PATH; None where it isn't installed."""
    beside = os.path.join(os.path.dirname(sys.executable), "py-spy")
    if os.access(beside, os.X_OK):
        return beside
    from shutil import which

    return which("py-spy")


def sample(
    pids: Iterable[int], *, variables: bool = False, limit: float = TIMEOUT
) -> dict[int, tuple[Thread, ...] | Unread]:
    """Return the threads of each process with their calls of Python, or why they can't be read.

    Args:
        pids: Processes of this machine.
        variables: Also read local variables.
        limit: Seconds for all of it.
    """
    return {
        pid: found if isinstance(found, Unread) else tuple(map(_visible, found))
        for pid, found in read(pids, variables=variables, limit=limit).items()
    }


def read(
    pids: Iterable[int], *, variables: bool = False, limit: float = TIMEOUT
) -> dict[int, tuple[Sampled, ...] | Unread]:
    """Return what `sample` returns, with the calls of our own programs, and with what py-spy knows of each call."""
    until = time.monotonic() + limit
    sampler = program()
    waiting = list(pids)
    if sampler is None:
        from accel_config.showing.installing import command

        return dict.fromkeys(waiting, Unread(f"py-spy isn't installed; run: {command('py-spy')}"))
    now = time.monotonic()
    found: dict[int, tuple[Sampled, ...] | Unread] = {
        pid: Unread(TOO_LARGE) for pid in waiting if now < _large.get(pid, 0.0)
    }
    waiting = [pid for pid in waiting if pid not in found]
    flags = ["--nonblocking", *["--locals"] * variables]
    for _attempt in range(RETRIES):
        left = list(waiting)
        while left:
            started = _started(sampler, left[:AT_ONCE], flags)
            found.update({pid: _finish(pid, popen, until) for pid, popen in started.items()})
            left = left[len(started) :]
        waiting = [pid for pid in waiting if isinstance(found[pid], Unread) and _worth_repeating(found[pid])]
        if not waiting or time.monotonic() > until:
            break
    return found


def sweep(pid: int, rate: int, *, locked: bool = False) -> list[tuple[Frame, ...]] | None:
    """Return the stacks of a process's main thread in two seconds; None if they can't be read.

    That is far cheaper than as many samples.

    Args:
        pid: A process of this machine.
        rate: How often to look, a second.
        locked: Leave out what doesn't hold the interpreter's lock.
    """
    sampler = program()
    if sampler is None:
        return None
    flags = ["--nonblocking", "--full-filenames", "--threads", "--gil" if locked else "--idle"]
    how = ["--format", "speedscope", "--output", "/dev/stdout", "--duration", "2", "--rate", str(rate)]
    out = _output([sampler, "record", *flags, *how, "--pid", str(pid)])
    if out is None:
        return None
    import json

    try:
        whole, _end = json.JSONDecoder(strict=False).raw_decode(out, max(out.find("{"), 0))  # words of py-spy follow
        stacks = _swept(whole)
    except MALFORMED:
        return None
    main = _main_of(pid, [label for label, _frames in stacks])
    return [
        tuple(each for each in frames if not each.file.startswith(OWN))
        for label, frames in stacks
        if _number(label) == main
    ]


def _output(words: Sequence[str]) -> str | None:
    """Return what a program prints; None if it fails, or can't be started: no process or descriptor may be left."""
    try:
        popen = subprocess.Popen(  # noqa: S603
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError:
        return None
    try:
        out = _answer(popen, time.monotonic() + TIMEOUT)[0].decode(errors="replace")
    except Unread:
        return None
    return None if popen.returncode else out


def _answer(popen: subprocess.Popen[bytes], until: float) -> list[bytes]:
    """Return what a sampler prints to each of its pipes, at its end; it is killed if that is too much, or too late.

    Raises:
        Unread: it was killed.
    """
    found = {pipe.fileno(): bytearray() for pipe in (popen.stdout, popen.stderr) if pipe is not None}
    poller, unfinished = select.poll(), len(found)
    for fd in found:
        poller.register(fd, select.POLLIN)
    with popen:
        try:
            while unfinished:
                if not (ready := poller.poll(max(until - time.monotonic(), SOON) * 1000)):
                    raise Unread(LATE)
                for fd, _events in ready:
                    data = os.read(fd, 1 << 16)
                    found[fd] += data
                    if len(found[fd]) > LARGEST:
                        raise Unread(TOO_LARGE)
                    if not data:
                        poller.unregister(fd)
                        unfinished -= 1
            popen.wait(max(until - time.monotonic(), SOON))
        except subprocess.TimeoutExpired:
            raise Unread(LATE) from None
        finally:
            popen.kill()
    return [bytes(each) for each in found.values()]


def _swept(whole: Mapping[str, Any]) -> list[tuple[str, list[Frame]]]:
    """Return the stacks of a sweep, innermost call first, each with its thread: ``thread (7): MainThread``."""
    known: Iterable[Mapping[str, Any]] = whole["shared"]["frames"]
    frames = [Frame(str(each["name"]), str(each["file"]), int(each["line"])) for each in known]
    found: list[tuple[str, list[Frame]]] = []
    for profile in whole["profiles"]:
        stacks: list[list[int]] = profile["samples"]
        for stack in stacks:
            thread = frames[stack[0]].function
            if thread.startswith(THREAD):
                found.append((thread, [frames[place] for place in stack[:0:-1]]))
    return found


def _number(label: str) -> int:
    """Return how py-spy calls a thread; -1 if that can't be read."""
    text = label.removeprefix(THREAD).partition(")")[0]
    try:
        return int(text, 16 if text.startswith("0x") else 10)
    except ValueError:
        return -1


def _main_of(pid: int, labels: Sequence[str]) -> int:
    """Return how py-spy calls the main thread of a process: by its number there, before Python 3.11 by its pointer.

    Its name tells it by what there is already; only if none or several have that name is the process read again.
    """
    unnumbered = {label for label in labels if label.startswith(f"{THREAD}0x")}
    if not unnumbered:
        return numbers.inside(pid)
    named = [label for label in unnumbered if label.endswith(f"): {numbers.MAIN}")]
    if len(named) == 1:
        return _number(named[0])
    found = read([pid])[pid]
    return next((each.pointer for each in found if each.thread.id == pid), 0) if isinstance(found, tuple) else 0


def _worth_repeating(error: object) -> bool:
    text = str(error)
    return not any(words in text for words in ("ermission", "permitted", "No such", "not a Python", TOO_LARGE))


def _started(sampler: str, pids: Sequence[int], flags: Sequence[str]) -> dict[int, subprocess.Popen[bytes] | Unread]:
    """Start as many of these as there are descriptors and processes for, at least one."""
    started: dict[int, subprocess.Popen[bytes] | Unread] = {}
    for pid in pids:
        command = [sampler, "dump", "--json", "--full-filenames", *flags, "--pid", str(pid)]
        try:
            started[pid] = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as error:
            return started or {pid: Unread(f"py-spy can't be started: {error.strerror}")}
    return started


def _finish(pid: int, popen: subprocess.Popen[bytes] | Unread, until: float) -> tuple[Sampled, ...] | Unread:
    import json

    if isinstance(popen, Unread):
        return popen
    try:
        out, err = _answer(popen, until)
    except Unread as error:
        if str(error) == TOO_LARGE:
            _large[pid] = time.monotonic() + LATER
        return error
    if popen.returncode:
        return Unread(_why(pid, err.decode(errors="replace")))
    try:
        found = [_sampled(each) for each in json.loads(out.decode(errors="replace"), strict=False)]
        return numbers.as_here(pid, found)
    except MALFORMED:
        return Unread("py-spy's answer can't be read")


def _why(pid: int, text: str) -> str:
    """Return the reason in py-spy's message, which a backtrace of its own may follow."""
    if "ermission" in text or "EPERM" in text or "not permitted" in text:
        from accel_launch.inspecting import rights

        return f"reading another process isn't permitted here: {rights.missing(pid)}"
    if "ind python version" in text:
        return NO_PYTHON
    if any(words in text for words in ("ind a python interpreter", "ind python interpreter")):
        return NO_CALLS
    reasons = [line.partition(": ")[2] for line in text.splitlines() if line.startswith(("Error: ", "Reason: "))]
    return "; ".join(reasons) or "py-spy failed"


def _sampled(found: Mapping[str, Any]) -> Sampled:
    thread = Thread(
        id=found["os_thread_id"] or 0,
        name=found["thread_name"] or "",
        active=bool(found["active"]),
        gil=bool(found["owns_gil"]),
        frames=tuple(map(_frame, found["frames"])),
    )
    entries = tuple(bool(frame.get("is_entry") or frame.get("is_shim_entry")) for frame in found["frames"])
    return Sampled(thread, entries, int(found["thread_id"]), numbered=found["os_thread_id"] is not None)


def _visible(sampled: Sampled) -> Thread:
    frames = sampled.thread.frames
    return sampled.thread.replace(frames=tuple(frame for frame in frames if not frame.file.startswith(OWN)))


def _frame(found: Mapping[str, Any]) -> Frame:
    variables = tuple((str(each["name"]), str(each["repr"])) for each in found["locals"] or ())
    return Frame(str(found["name"]), str(found["filename"] or ""), int(found["line"] or 0), variables)
