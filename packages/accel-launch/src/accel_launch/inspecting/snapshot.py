"""What every rank of a run does at one moment: its place, its state in the kernel, its children."""

from __future__ import annotations

import time

from accel_config.record import Record
from accel_launch.inspecting import kernel, sampling, syscalls
from accel_launch.inspecting.places import Place, locate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from accel_launch.inspecting.kernel import Facts
    from accel_launch.inspecting.sampling import Thread, Unread

CHILDREN = 16  # of a rank that are looked into


class Process(Record):
    """A process with what is known about it; ``threads`` is empty, and ``unread`` says why, if it can't be read."""

    facts: Facts
    threads: tuple[Thread, ...] = ()
    unread: str = ""

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
        facts = self.process.facts
        return ", ".join(filter(None, (self._where(facts), self._condition(facts))))

    def _where(self, facts: Facts) -> str:
        text = self.place.text or facts.name
        waits = syscalls.words(facts.call)
        if waits and not self.place.collective and not text.endswith(waits):
            text += f" > {waits}"
        return text

    def _condition(self, facts: Facts) -> str:
        if self.place.prompt or facts.at_terminal:
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
        if self.place.collective:
            return "waiting"
        return "running" if facts.state == "R" else ""


class Snapshot(Record):
    """All ranks of a machine at one moment."""

    at: float
    """Seconds since the epoch."""
    ranks: tuple[RankStack, ...]


class Subject(Record):
    """A rank to look at."""

    rank: int
    local_rank: int
    pid: int
    ended: str = ""
    """How it ended, in words; empty if that isn't known, or if it runs."""


def take(
    subjects: Sequence[Subject],
    *,
    children: bool = False,
    variables: bool = False,
    native: bool = False,
    limit: float = sampling.TIMEOUT,
) -> Snapshot:
    """Return what the ranks do now.

    Args:
        subjects: The ranks.
        children: Also look at the processes below each rank, such as the workers of a data loader.
        variables: Also read local variables.
        native: Also read the frames of C, C++ and Rust.
        limit: Seconds for reading stacks; processes that can't be read by then have none.
    """
    at = time.time()
    facts = {subject.pid: kernel.facts(subject.pid) for subject in subjects if not subject.ended}
    living = {pid: found for pid, found in facts.items() if found is not None and found.state not in "ZX"}
    below = {pid: _below(pid) if children else () for pid in living}
    pids = [*living, *(child.pid for each in below.values() for child in each)]
    read = sampling.sample(pids, variables=variables, native=native, limit=limit)
    return Snapshot(at, tuple(_rank(subject, living, below, read) for subject in subjects))


def _below(pid: int) -> tuple[Facts, ...]:
    found = [kernel.facts(child) for child in kernel.children(pid)[:CHILDREN]]
    return tuple(each for each in found if each is not None)


def _rank(
    subject: Subject,
    living: Mapping[int, Facts],
    below: Mapping[int, tuple[Facts, ...]],
    read: Mapping[int, tuple[Thread, ...] | Unread],
) -> RankStack:
    if subject.pid not in living or subject.ended:
        return RankStack(subject.rank, subject.local_rank, subject.pid, None, ended=subject.ended)
    process = _process(living[subject.pid], read)
    main = process.main
    return RankStack(
        subject.rank,
        subject.local_rank,
        subject.pid,
        process,
        locate(main.frames) if main is not None else Place(),
        tuple(_process(child, read) for child in below[subject.pid]),
    )


def _process(facts: Facts, read: Mapping[int, tuple[Thread, ...] | Unread]) -> Process:
    found = read[facts.pid]
    return Process(facts, unread=str(found)) if isinstance(found, Exception) else Process(facts, found)
