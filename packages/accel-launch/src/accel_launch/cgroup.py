"""What this process's cgroup grants it. Both versions of cgroups are read."""

from __future__ import annotations

from .devices import read

NO_LIMIT = 1 << 60
"""Version 1 says that there is no limit by a number near the largest there is."""


def cpus() -> float | None:
    """Return how many CPUs it grants, None where it sets no limit."""
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
    """Return how many bytes of memory it grants, None where it sets no limit."""
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


def _groups() -> list[tuple[list[str], str]]:
    """Return the controllers (none for version 2) and the path of each of our groups."""
    lines = [line.split(":", 2) for line in read("/proc/self/cgroup").splitlines()]
    return [([name for name in names.split(",") if name], path) for _number, names, path in lines]


def _nearest(mount: str, path: str, name: str) -> str:
    """Return the file's text in the cgroup's own folder, else at the mount, where a container sees its own."""
    return read(mount + path, name) or read(mount, name)
