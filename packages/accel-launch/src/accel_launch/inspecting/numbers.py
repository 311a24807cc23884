"""The kernel's numbers of threads, as they are here.

py-spy tells the number that a thread knows of itself: another one than here if it is in a pid namespace of its own.
Of Python before 3.11 it tells none.
"""

from __future__ import annotations

import os

from accel_launch.inspecting import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_launch.inspecting.threads import Sampled

MAIN = "MainThread"
"""What Python calls it, unless the program gives it another name."""


def inside(pid: int) -> int:
    """Return the number that a process has for itself, in the innermost of its pid namespaces."""
    return _inside(f"/proc/{pid}/status") or pid


def as_here(pid: int, found: Sequence[Sampled]) -> tuple[Sampled, ...]:
    """Return the threads of a process, in py-spy's order, with their numbers here; 0 where that isn't known.

    The main thread always has that of the process.
    """
    nested = inside(pid) != pid
    if not nested and any(each.thread.id == pid for each in found):
        return tuple(found)
    known = _threads(pid, nested=nested)
    threads = [_renumbered(pid, each, known.get(each.thread.id, 0)) for each in found]
    main = None if any(each.thread.id == pid for each in threads) else _main(threads)
    return tuple(_renumbered(pid, each, pid) if each is main else each for each in threads)


def _main(found: Sequence[Sampled]) -> Sampled | None:
    """Return the main thread among those without a number: the one of that name, else the oldest, which is last."""
    unknown = [each for each in found if not each.thread.id]
    named = [each for each in unknown if each.thread.name == MAIN]
    return next(reversed(named or unknown), None)


def _renumbered(pid: int, sampled: Sampled, number: int) -> Sampled:
    """Give a thread its number; py-spy, which doesn't know that, hasn't seen whether it runs."""
    if number == sampled.thread.id:
        return sampled
    fields = kernel.stat(f"/proc/{pid}/task/{number}/stat") if number else None
    active = sampled.thread.active if fields is None else fields[1] == "R"
    return sampled.replace(thread=sampled.thread.replace(id=number, active=active))


def _threads(pid: int, *, nested: bool) -> dict[int, int]:
    """Return the number here of each thread of a process, by the one that it has for itself."""
    folder = f"/proc/{pid}/task"
    try:
        names = os.listdir(folder)
    except OSError:
        return {}
    return {_inside(f"{folder}/{name}/status") if nested else int(name): int(name) for name in names}


def _inside(path: str) -> int:
    """Return the last number of those that the kernel tells, one for each namespace; 0 if it tells none."""
    return kernel.status(path, "NSpid")
