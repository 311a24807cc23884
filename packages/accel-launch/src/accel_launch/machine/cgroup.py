"""The CPUs that this process may use, and the limits of its cgroup, of version 1 or 2."""

from __future__ import annotations

import os

from accel_launch.machine.files import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NO_LIMIT = 1 << 60
"""Without a limit, version 1 has a number near the largest possible one."""


def affinity() -> set[int]:
    """Return the numbers of the CPUs that this process may use; on other systems than Linux, of all."""
    asked: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return asked(0) if asked is not None else set(range(os.cpu_count() or 1))


def cpus() -> float | None:
    """Return the limit of CPUs; None without one."""
    for controllers, path in _groups():
        if not controllers:
            words = _nearest("/sys/fs/cgroup", path, "cpu.max").split()
            if words and words[0].isdecimal():
                return int(words[0]) / int(words[1])
        elif "cpu" in controllers:
            quota = _nearest("/sys/fs/cgroup/cpu", path, "cpu.cfs_quota_us")
            period = _nearest("/sys/fs/cgroup/cpu", path, "cpu.cfs_period_us")
            if quota.isdecimal() and period.isdecimal() and int(period):
                return int(quota) / int(period)
    return None


def memory() -> int | None:
    """Return the limit of memory in bytes; None without one."""
    for controllers, path in _groups():
        if not controllers:
            text = _nearest("/sys/fs/cgroup", path, "memory.max").strip()
        elif "memory" in controllers:
            text = _nearest("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes").strip()
        else:
            continue
        if text.isdecimal() and int(text) < NO_LIMIT:
            return int(text)
    return None


def memory_kills() -> int:
    """Return how often the OOM killer has killed a process of our cgroup."""
    total = 0
    for controllers, path in _groups():
        if not controllers:
            words = _nearest("/sys/fs/cgroup", path, "memory.events").split()
        elif "memory" in controllers:
            words = _nearest("/sys/fs/cgroup/memory", path, "memory.oom_control").split()
        else:
            continue
        total += int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0
    return total


def _groups() -> list[tuple[list[str], str]]:
    """Return the controllers (none in version 2) and the path of each of our groups."""
    lines = [line.split(":", 2) for line in read("/proc/self/cgroup").splitlines()]
    return [([name for name in names.split(",") if name], path) for _number, names, path in lines]


def _nearest(mount: str, path: str, name: str) -> str:
    """Return the file's text from the cgroup's folder, or from the mount, which is a container's own cgroup."""
    return read(mount + path, name) or read(mount, name)
