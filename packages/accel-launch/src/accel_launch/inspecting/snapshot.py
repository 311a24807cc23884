"""What every rank of a run does at one moment: its place, its state in the kernel, its children."""

from __future__ import annotations

import time

from accel_config.record import Record
from accel_launch.inspecting import kernel, sampling, syscalls
from accel_launch.inspecting.places import (
    Place,
    called_by_line,
    for_thread,
    inside_of_worker,
    locate,
    remotely,
    waiting_for,
)
from accel_launch.inspecting.threads import NO_CALLS, NO_PYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from accel_launch.inspecting.kernel import Facts
    from accel_launch.inspecting.native.reading import Stacks
    from accel_launch.inspecting.sampling import Unread
    from accel_launch.inspecting.subject import Subject
    from accel_launch.inspecting.threads import Thread

    Read = Mapping[int, tuple[Thread, ...] | Unread]
    Native = Mapping[int, Stacks | Unread]

CHILDREN = 16  # of a rank that are looked into
MOST_WORKERS = 2  # different places of them, or of threads, in a line
NOTHING: Native = {}
PROGRAMS = "/subprocess.py"  # of the standard library: what it starts is another program


class Process(Record):
    """A process with what is known about it."""

    facts: Facts
    threads: tuple[Thread, ...] = ()
    """Those that run Python."""
    unread: str = ""
    """Why there are none, or why they lack the calls of C that were asked for."""
    native: tuple[Thread, ...] = ()
    """The same threads with the calls of C, C++ and Rust, where they were asked for."""

    @property
    def main(self) -> Thread | None:
        """The main thread."""
        return next((thread for thread in self.threads if thread.id == self.facts.pid), None)


class RankStack(Record):
    """What a rank does, or how it has ended."""

    rank: int
    local_rank: int
    pid: int
    process: Process | None
    """None if it has ended."""
    place: Place = Place()
    children: tuple[Process, ...] = ()
    ended: str = ""
    """How it ended, in words."""

    @property
    def doing(self) -> str:
        """Where it is and what it does there, in words: what ranks are grouped by."""
        if self.process is None:
            return f"ended: {self.ended}" if self.ended else "ended"
        parts = (_doing(self.place, self.process.facts), self._workers(), self._threads(self.process))
        return ", ".join(filter(None, parts))

    def _workers(self) -> str:
        """Return where the processes are that it waits for; those of a library only if they run the user's code."""
        waits = self.process is not None and _waits_for(self.process, syscalls.CHILD)
        if not (self.place.for_processes or waits):
            return ""
        below = [(child, _worker(child)) for child in self.children]
        told = [(self._runs_ours(child), _doing(place, child.facts)) for child, place in below if place.file or waits]
        workers = _named("worker", [words for ours, words in told if ours])
        return ", ".join(filter(None, (workers, _named("child", [words for ours, words in told if not ours]))))

    def _runs_ours(self, child: Process) -> bool:
        """Return whether a process below it was started to run code of this script, not another program."""
        main = self.process.main if self.process is not None else None
        by_subprocess = main is not None and any(PROGRAMS in frame.file for frame in main.frames)
        another = child.unread == NO_PYTHON or child.facts.state in kernel.ENDED
        return self.place.for_processes and not by_subprocess and not another

    def _threads(self, process: Process) -> str:
        """Return where the threads are, in code of the user's own, for one of which it waits."""
        remote = remotely(self.place.operations)
        if process.main is None or (self.place.collective and not remote):
            return ""
        if not remote and not for_thread(process.main.frames) and not _waits_for(process, syscalls.LOCK):
            return ""
        places = [locate(thread.frames) for thread in process.threads if thread is not process.main]
        return _named("thread", [place.text for place in places if place.file])


def _waits_for(process: Process, what: str) -> bool:
    return syscalls.words(process.facts.call) == what


def _named(what: str, places: Sequence[str]) -> str:
    """Return the first few of some places in words."""
    found = list(dict.fromkeys(places))
    more = "; ..." if len(found) > MOST_WORKERS else ""
    return f"{what}: {'; '.join(found[:MOST_WORKERS])}{more}" if found else ""


def _worker(process: Process) -> Place:
    """Return the place of a process below a rank."""
    return locate(inside_of_worker(process.main.frames)) if process.main is not None else Place()


def _doing(place: Place, facts: Facts) -> str:
    return ", ".join(filter(None, (_where(place, facts), _condition(place, facts))))


def _where(place: Place, facts: Facts) -> str:
    text = place.text or facts.name
    waits = syscalls.words(facts.call)
    if waits and not place.collective and not text.endswith(waits):
        text += f" > {waits}"
    return text


def _condition(place: Place, facts: Facts) -> str:
    if place.prompt or facts.at_terminal:
        return "at a prompt"
    if facts.tracer or facts.state == "t":
        return f"under a debugger (pid {facts.tracer})"
    states = {
        "D": f"blocked in the kernel (D), {facts.cpu:.0f} s of CPU",
        "T": f"stopped (T): kill -CONT {facts.pid}",
        "Z": "ended",
        "X": "ended",
    }
    if facts.state in states:
        return states[facts.state]
    if place.waits(facts.state):
        return "waiting"
    return "running" if facts.state == "R" else ""


class Snapshot(Record):
    """All ranks of a machine at one moment."""

    at: float
    """Seconds since the epoch."""
    ranks: tuple[RankStack, ...]


def take(  # noqa: PLR0913
    subjects: Sequence[Subject],
    *,
    children: bool = False,
    workers: bool = False,
    variables: bool = False,
    native: bool = False,
    limit: float = sampling.TIMEOUT,
) -> Snapshot:
    """Return what the ranks do now.

    Args:
        subjects: The ranks.
        children: Also look at the processes below each rank, such as the workers of a data loader.
        workers: Look at those of ranks that wait for them.
        variables: Also read local variables.
        native: Also read the calls of C, C++ and Rust: each thread stands still for some milliseconds.
        limit: Seconds for reading calls of Python; processes that can't be read by then have no stacks.
    """
    at, until = time.time(), time.monotonic() + limit
    facts = {subject.pid: kernel.facts(subject.pid) for subject in subjects if not subject.ended}
    living = {pid: found for pid, found in facts.items() if found is not None and found.state not in kernel.ENDED}
    below = {pid: _below(pid) if children else () for pid in living}
    pids = [*living, *_readable(below)]
    read = sampling.sample(pids, variables=variables, limit=limit)
    if workers and not children:
        found = {pid: _process(living[pid], read) for pid in living}
        waits = {pid for pid, one in found.items() if place_of(one).for_processes or _waits_for(one, syscalls.CHILD)}
        below = {pid: _below(pid) if pid in waits else () for pid in living}
        read.update(sampling.sample(_readable(below), variables=variables, limit=max(until - time.monotonic(), 0.0)))
    by_native = [pid for pid, found in read.items() if not isinstance(found, Exception)] if native else []
    whole = _native(by_native) if by_native else NOTHING
    return Snapshot(at, tuple(_rank(subject, living, below, read, whole) for subject in subjects))


def _native(pids: Sequence[int]) -> Native:
    from accel_launch.inspecting.native import reading

    return reading.read(pids)


def _below(pid: int) -> tuple[Facts, ...]:
    found = [kernel.facts(child) for child in kernel.children(pid)[:CHILDREN]]
    return tuple(each for each in found if each is not None)


def _readable(below: Mapping[int, tuple[Facts, ...]]) -> list[int]:
    """Return the children that may have a stack: one that has ended has none."""
    return [child.pid for each in below.values() for child in each if child.state not in kernel.ENDED]


def _rank(
    subject: Subject,
    living: Mapping[int, Facts],
    below: Mapping[int, tuple[Facts, ...]],
    read: Read,
    whole: Native,
) -> RankStack:
    if subject.pid not in living or subject.ended:
        return RankStack(subject.rank, subject.local_rank, subject.pid, None, ended=subject.ended)
    process = _process(living[subject.pid], read, whole)
    return RankStack(
        subject.rank,
        subject.local_rank,
        subject.pid,
        process,
        place_of(process),
        tuple(_child(child, read, whole) for child in below[subject.pid]),
    )


def place_of(process: Process) -> Place:
    """Return where a process is: its main thread, or a collective of another thread for which that waits."""
    if process.main is None:
        return Place()
    place = locate(process.main.frames)
    if called_by_line(place) and process.facts.call and not _waits_for(process, syscalls.LOCK):
        return place.replace(collective=False)
    device = place.device and kernel.has_device(process.facts.pid)
    return waiting_for(place, device=device, other=_awaited(process))


def _awaited(process: Process) -> Place | None:
    """Return the place of a thread in a collective, if the main thread waits for a thread."""
    if process.main is None or not for_thread(process.main.frames):
        return None
    places = [locate(thread.frames) for thread in process.threads if thread is not process.main]
    return next((place for place in places if place.collective and place.certain), None)


def _process(facts: Facts, read: Read, whole: Native = NOTHING) -> Process:
    threads, native = read.get(facts.pid, ()), whole.get(facts.pid)
    if isinstance(threads, Exception):
        return Process(facts, unread=str(threads))
    if native is None:
        process = Process(facts, threads)
        lost = process.main is not None and not process.main.frames
        return process.replace(unread=NO_CALLS) if lost else process
    if isinstance(native, Exception):
        return Process(facts, threads, unread=str(native))
    return Process(facts, threads, native.unread, _with_variables(native.threads, threads))


def _child(facts: Facts, read: Read, whole: Native) -> Process:
    """Return a process below a rank, which may have ended while it was read: that is no reason to tell."""
    found = _process(facts, read, whole)
    if not found.unread:
        return found
    now = kernel.process(facts.pid)
    ended = now is None or now[1] in kernel.ENDED
    return found.replace(facts=facts.replace(state="Z"), unread="") if ended else found


def _with_variables(native: Sequence[Thread], threads: Sequence[Thread]) -> tuple[Thread, ...]:
    """Return threads with the variables of their calls of Python, which were read without stopping the process."""
    known = {
        (thread.id, frame.function, frame.line): frame.variables for thread in threads for frame in thread.frames
    }
    return tuple(
        thread.replace(
            frames=tuple(
                frame.replace(variables=known.get((thread.id, frame.function, frame.line), ()))
                for frame in thread.frames
            )
        )
        for thread in native
    )
