"""The stacks of processes with their calls of C, C++ and Rust."""

from __future__ import annotations

import errno
import os
import time

from accel_config.record import Record
from accel_launch.inspecting import rights, sampling
from accel_launch.inspecting.native import copying, merging
from accel_launch.inspecting.native.copier import LIMIT
from accel_launch.inspecting.native.spaces import Files, Space
from accel_launch.inspecting.native.unwinding import MACHINES, unwind
from accel_launch.inspecting.sampling import Unread
from accel_launch.ranks.system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from accel_launch.inspecting.native.copying import Copy
    from accel_launch.inspecting.threads import Frame, Sampled, Thread

    Sample = tuple[Sampled, ...] | Unread

TIMEOUT = 15.0  # seconds for all processes
ROUNDS = 3
"""How often a thread is copied at most, until its calls of Python are the same before and after."""


class Stacks(Record):
    """The stacks of a process."""

    threads: tuple[Thread, ...]
    unread: str = ""
    """Why some of them have no calls of C; empty if all have."""


def read(pids: Iterable[int]) -> dict[int, Stacks | Unread]:
    """Return the threads of each process that run Python, with all their calls, or why they can't be read.

    py-spy reads Python's calls, before and after the moment in which a thread stands still. A thread for which they
    differ is copied again, and at last what was read afterwards is taken, if it can belong to the calls of C at all.
    """
    waiting = [_Process(pid) for pid in pids]
    every = {process.pid: process for process in waiting}
    here = os.uname()
    if not calls.LOOKS or here.machine not in MACHINES:
        told = f"calls of C are read on Linux on x86_64 and aarch64; this is {here.sysname} on {here.machine}"
        return dict.fromkeys(every, Unread(told))
    until, files = time.monotonic() + TIMEOUT, Files()
    for left in reversed(range(ROUNDS)):
        before = sampling.read([process.pid for process in waiting])
        tids = {process.pid: process.missing(before[process.pid]) for process in waiting}
        try:
            copies = copying.copy([tid for each in tids.values() for tid in each], until)
        except OSError as error:
            return dict.fromkeys(
                every, Unread(f"calls of C aren't read: no program can be started: {error.strerror}")
            )
        after = sampling.read([process.pid for process in waiting])
        for process in waiting:
            process.take(before[process.pid], copies, after[process.pid], files, last=not left)
        waiting = [process for process in waiting if process.unfinished]
        if not waiting:
            break
    return {process.pid: process.stacks() for process in every.values()}


class _Process:
    """A process of which threads are read until all are."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.unfinished = True
        self.refused: Unread | None = None
        self.done: dict[int, Thread] = {}
        self.unknown: tuple[Thread, ...] = ()
        """Threads whose numbers aren't known here, such as those that have just ended in a pid namespace."""
        self.reasons: dict[str, None] = {}

    def missing(self, sample: Sample) -> list[int]:
        """Return the threads that are still to be copied."""
        if isinstance(sample, Unread):
            return []
        tids = [each.thread.id for each in sample if each.thread.id not in self.done]
        return [tid for tid in tids if tid and os.path.exists(f"/proc/{self.pid}/task/{tid}")]

    def stacks(self) -> Stacks | Unread:
        """Return all threads that were read."""
        return self.refused or Stacks((*self.done.values(), *self.unknown), "; ".join(self.reasons))

    def take(
        self, before: Sample, copies: Mapping[int, Copy | int], after: Sample, files: Files, *, last: bool
    ) -> None:
        """Take the copies that belong to what Python did."""
        self.unfinished = False
        self.refused = _refused(before, after)
        if isinstance(after, Unread) or isinstance(before, Unread) or self.refused is not None:
            return
        earlier = {each.thread.id: each for each in before}
        unknown = [each.thread for each in after if not each.thread.id]
        self.unknown = tuple(thread.replace(frames=_visible(thread.frames)) for thread in unknown)
        ready: list[tuple[Sampled, Sampled, Copy]] = []
        for now in after:
            tid = now.thread.id
            copy = copies.get(tid, errno.EAGAIN if tid in earlier else errno.ESRCH)
            if tid in self.done or not tid:
                continue
            if isinstance(copy, int):
                self._without(now.thread, copy, last=last)
            elif last or earlier[tid].thread.frames == now.thread.frames:
                ready.append((now, earlier[tid], copy))
            else:
                self.unfinished = True
        if ready:
            self._merge(ready, files, last=last)

    def _merge(self, ready: Sequence[tuple[Sampled, Sampled, Copy]], files: Files, *, last: bool) -> None:
        try:
            space = Space(self.pid, files)
            executable = os.readlink(f"/proc/{self.pid}/exe")
        except OSError as error:
            self.refused = Unread(error.strerror or str(error))
            return
        stacks = [unwind(copy, space) for _, _, copy in ready]
        for (now, earlier, _), stack, found in zip(
            ready, stacks, merging.named(stacks, space, executable), strict=True
        ):
            frames = merging.merge(found, whole=stack.whole, python=now)
            if frames is None and last:
                frames = merging.merge(found, whole=stack.whole, python=earlier)
            if frames is not None:
                self.done[now.thread.id] = now.thread.replace(frames=_visible(frames))
            else:
                self._without(now.thread, errno.EAGAIN, last=last)

    def _without(self, thread: Thread, error: int, *, last: bool) -> None:
        """Take a thread with its calls of Python alone, if it won't be copied again."""
        if error in (errno.EAGAIN, errno.EPERM, errno.ESRCH) and not last:
            self.unfinished = True  # it has ended or begun at this moment, or another one traces it for a moment
        elif error != errno.ESRCH:
            self.done[thread.id] = thread.replace(frames=_visible(thread.frames))
            self.reasons[self._why(thread.id, error)] = None

    def _why(self, tid: int, error: int) -> str:
        if error == errno.EPERM:
            why = rights.missing(self.pid, native=True)
            return f"reading another process isn't permitted here: {why}"
        if error == errno.ETIMEDOUT:
            return f"thread {tid} didn't stop within {LIMIT * 1000:.0f} ms, so its calls of C aren't known"
        if error == errno.EAGAIN:
            return f"thread {tid} ran on, so its calls of C aren't known"
        return f"thread {tid} can't be copied: {os.strerror(error)}"


def _refused(before: Sample, after: Sample) -> Unread | None:
    """Return why no thread can be copied."""
    for sample in (after, before):
        if isinstance(sample, Unread):
            return sample
        known = [each.thread.id for each in sample if each.numbered]
        if sample and not known:
            return Unread(
                "calls of C are read from Python 3.11 on: before that, its threads don't keep their numbers"
            )
    return None


def _visible(frames: Iterable[Frame]) -> tuple[Frame, ...]:
    return tuple(frame for frame in frames if not frame.file.startswith(sampling.OWN))
