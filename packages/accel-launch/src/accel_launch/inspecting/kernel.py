"""What the kernel tells of a process, from ``/proc``: state, CPU time, system call, tracer, terminal, children."""

from __future__ import annotations

import os

from accel_config.record import Record
from accel_launch.inspecting import syscalls
from accel_launch.ranks.system import calls

TERMINALS, MASTER = ("/dev/pts/", "/dev/tty", "/dev/console"), "/dev/pts/ptmx"  # and the other side of any of them
LOOKERS = frozenset({"accel-copier", "py-spy", "pystack", "austin", "eu-stack", "strace", "ltrace"})
"""Tracers that only look, and let go of a process at once or go on with it; no debugger at which it stands."""
IO = ("rchar", "wchar", "read_bytes", "write_bytes")
ENDED = "ZX"  # states of a process that has ended, and whose parent hasn't collected it
PAGE = 1 << 14  # bytes, more than any of these files has
DEVICES = ("/dev/nvidia", "/dev/kfd", "/dev/accel", "/dev/neuron", "/dev/davinci", "/dev/vfio/")
OPEN, PART = 256, 4  # files that stay open, at most; and of those that the process may open, one in so many


class Facts(Record):
    """A process, or one of its threads, as the kernel sees it."""

    pid: int
    name: str
    """Its name, of at most 15 bytes."""
    state: str
    """``R`` running, ``S`` asleep, ``D`` blocked in the kernel, ``T`` stopped, ``t`` stopped by a debugger, ``Z``."""
    cpu: float
    """Seconds of CPU time of all its threads."""
    started: int
    """Clock ticks between the start of the system and its own: with the pid, what names it for ever."""
    call: str = ""
    """The system call in which its main thread waits; empty if it runs, or if that may not be read."""
    channel: str = ""
    """The kernel's function in which it waits."""
    tracer: int = 0
    """The pid of a debugger that is attached; 0 if none is. One that only looks, such as py-spy, isn't a debugger."""
    at_terminal: bool = False
    """Whether its main thread reads from a terminal."""
    denied: bool = False
    """Whether the kernel doesn't let us see its system call."""


def facts(pid: int) -> Facts | None:
    """Return what the kernel tells of a process; None if it is gone."""
    fields = process(pid)
    if fields is None:
        return None
    name, state, cpu, started = fields
    words, denied = call(f"/proc/{pid}/syscall")
    channel = _text(f"/proc/{pid}/wchan").strip("0")
    named = _named(words, channel)
    if named and state == "R":  # it ran a moment ago; what runs is in no call
        state = "S"
    traced = tracer(pid)
    if traced and _only_looks(traced):
        traced = 0
        state = state.replace("t", "S" if named else "R")
    return Facts(
        pid=pid,
        name=name,
        state=state,
        cpu=cpu,
        started=started,
        call=named,
        channel=channel,
        tracer=traced,
        at_terminal=_at_terminal(pid, named, words),
        denied=denied,
    )


def process(pid: int) -> tuple[str, str, float, int] | None:
    """Return name, state, seconds of CPU and start of a process; None if it is gone."""
    if calls.LOOKS:
        return stat(f"/proc/{pid}/stat")
    found = calls.look(pid)
    if found is None:
        return None
    cpu, _memory = calls.usage(pid) or (0.0, 0)
    name, _, _rest = calls.command(pid).decode(errors="replace").partition(" ")
    return os.path.basename(name), calls.state(pid), cpu, found[2]


def stat(path: str, *, often: bool = False) -> tuple[str, str, float, int] | None:
    """Return name, state, seconds of CPU and start of a process or a thread; None if it is gone.

    A file that is read ``often`` stays open.
    """
    text = again(path) if often else _text(path)
    head, _, rest = text.rpartition(")")  # a name can hold anything, parentheses too
    words = rest.split()
    try:
        cpu = (int(words[11]) + int(words[12])) / calls.TICK
        return head.partition("(")[2], words[0], cpu, int(words[19])
    except (IndexError, ValueError):
        return None


def call(path: str) -> tuple[list[str], bool]:
    """Return the words of a system call's line, none if the thread runs; and whether it may not be read."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().split(), False
    except PermissionError:
        return [], True
    except OSError:
        return [], False


def demand(pid: int) -> dict[int, tuple[float, float]]:
    """Return the seconds of CPU that each thread of a process has used, and for how long it has waited for one."""
    found: dict[int, tuple[float, float]] = {}
    for name in _names(f"/proc/{pid}/task"):
        words = _text(f"/proc/{pid}/task/{name}/schedstat").split()
        if len(words) > 1:
            found[int(name)] = int(words[0]) / 1e9, int(words[1]) / 1e9
        elif (fields := stat(f"/proc/{pid}/task/{name}/stat")) is not None:
            found[int(name)] = fields[2], 0.0
    return found


def used(pid: int) -> tuple[float, float]:
    """Return the seconds of CPU of a process with all threads that it ever had, and of children that have ended."""
    words = again(f"/proc/{pid}/stat").rpartition(")")[2].split()
    try:
        user, system, childrens_user, childrens_system = map(int, words[11:15])
    except ValueError:
        return 0.0, 0.0
    return (user + system) / calls.TICK, (childrens_user + childrens_system) / calls.TICK


def ran(pid: int) -> str:
    """Return what changes whenever the main thread of a process runs; empty if the kernel doesn't tell it."""
    return again(f"/proc/{pid}/task/{pid}/schedstat")


def transferred(pid: int) -> int:
    """Return the bytes that a process has read and written so far; 0 if the kernel doesn't tell it."""
    lines = dict(line.split(": ") for line in again(f"/proc/{pid}/io").splitlines())
    return sum(int(lines.get(name, 0)) for name in IO)


def again(path: str) -> str:
    """Return the text of a small file of a process that is read every few seconds; empty if it can't be read.

    It stays open as long as the process lives: opening it takes several times as long as reading it.
    """
    if _owner != [os.getpid()]:
        _forget()
    try:
        if path not in _opened:
            if len(_opened) >= min(OPEN, os.sysconf("SC_OPEN_MAX") // PART):
                _forget()
            _opened[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(_opened[path], PAGE, 0).decode(errors="replace")
    except OSError:
        if path in _opened:
            os.close(_opened.pop(path))
        return ""


def _forget() -> None:
    """Close what is open; in a fork those are descriptors of the process before, or nothing's."""
    if _owner == [os.getpid()]:
        for fd in _opened.values():
            os.close(fd)
    _opened.clear()
    _owner[:] = [os.getpid()]


_owner: list[int] = []
"""The process whose descriptors these are."""
_opened: dict[str, int] = {}


def children(pid: int) -> list[int]:
    """Return the processes below a process, nearest first, as its threads have started them."""
    every = None if calls.LOOKS else calls.processes()
    found: list[int] = []
    waiting = [pid]
    while waiting:
        above = waiting.pop(0)
        own = _own(above) if every is None else [child for child, known in every.items() if known[0] == above]
        found += own
        waiting += own
    return found


def _own(pid: int) -> list[int]:
    tasks = f"/proc/{pid}/task"
    return [int(text) for name in _names(tasks) for text in _text(f"{tasks}/{name}/children").split()]


def has_device(pid: int) -> bool:
    """Return whether a process has an accelerator open: a GPU, a TPU."""
    folder = f"/proc/{pid}/fd"
    return any(_target(f"{folder}/{name}").startswith(DEVICES) for name in _names(folder))


def prompts(pid: int) -> bool:
    """Return whether any thread of a process, or of one below it, reads what somebody types, or is being debugged."""
    for each in (pid, *children(pid)):
        if (traced := tracer(each)) and not _only_looks(traced):
            return True
        for name in _names(f"/proc/{each}/task"):
            words, _denied = call(f"/proc/{each}/task/{name}/syscall")
            if _at_terminal(each, _named(words), words):
                return True
    return False


def _named(words: list[str], channel: str = "") -> str:
    """Return the name of a system call, by the words of its line; empty if the thread runs."""
    return syscalls.name(int(words[0]), channel) if words and words[0].isdecimal() else ""


def _only_looks(tracer: int) -> bool:
    return _text(f"/proc/{tracer}/comm").strip() in LOOKERS


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def tracer(pid: int) -> int:
    """Return the pid of whatever traces a process; 0 if nothing does."""
    return status(f"/proc/{pid}/status", "TracerPid")


def status(path: str, name: str) -> int:
    """Return the last number behind a name in the status of a process or a thread; 0 if it isn't there."""
    lines = (line.split() for line in _text(path).split("\n") if line.startswith(f"{name}:"))
    return next((int(words[-1]) for words in lines if words[-1].isdecimal()), 0)


def _at_terminal(pid: int, named: str, words: list[str]) -> bool:
    """Return whether the thread waits for what somebody types: in a read, or where it selects or polls a terminal."""
    awaited = syscalls.awaited(pid, named, words)
    paths = (_target(f"/proc/{pid}/fd/{number}") for number in awaited)
    return any(path.startswith(TERMINALS) and path != MASTER for path in paths)


def _text(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a file object takes twice as many system calls
        try:
            return b"".join(iter(lambda: os.read(fd, PAGE), b"")).decode(errors="replace")
        finally:
            os.close(fd)
    except OSError:
        return ""


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
