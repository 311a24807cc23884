"""What a process sees of itself before it is forked: its descriptors, mappings, threads and children."""

from __future__ import annotations

import os
import sys

if sys.platform == "linux":

    def descriptors() -> dict[int, str]:
        """Return the path of each open descriptor."""
        found: dict[int, str] = {}
        for name in os.listdir("/proc/self/fd"):
            try:
                found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
            except OSError:
                continue  # the descriptor of the listing itself
        return found

    def _mappings() -> list[list[str]]:
        """Return the fields of each line of the process's memory map, the path last."""
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            return [line.split(None, 5) for line in file]

    def mapped() -> list[str]:
        """Return the paths of all that is mapped; none where that can't be seen."""
        return [" ".join(words[5:]).strip() for words in _mappings()]

    def shared_memory() -> set[str]:
        """Return the mappings through which forks would see each other's writes."""
        return {
            " ".join(words[5:]).strip() or words[0]
            for words in _mappings()
            if words[1][1] == "w" and words[1][3] == "s"
        }

    def threads() -> int:
        """Return how many threads this process has, native ones included."""
        return len(os.listdir("/proc/self/task"))

    def has_children() -> bool:
        """Return whether this process has a child."""
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return bool(file.read().strip())

elif sys.platform != "win32":
    import stat

    import ps

    def descriptors() -> dict[int, str]:
        """Return the path of each open descriptor; its kind and number where it has none."""
        found: dict[int, str] = {}
        for name in os.listdir("/dev/fd"):
            try:
                found[int(name)] = _described(int(name))
            except OSError:
                continue  # the descriptor of the listing itself
        return found

    def _described(fd: int) -> str:
        facts = os.fstat(fd)
        for kind, fits in {"socket": stat.S_ISSOCK, "pipe": stat.S_ISFIFO}.items():
            if fits(facts.st_mode):
                return f"{kind}:[{facts.st_ino}]"
        fcntl = __import__("fcntl")
        try:
            return os.fsdecode(fcntl.fcntl(fd, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
        except (AttributeError, OSError):
            return f"a file:[{facts.st_ino}]"

    def mapped() -> list[str]:
        """Return the paths of all that is mapped; none where that can't be seen."""
        return []

    def shared_memory() -> set[str]:
        """Return none: that can't be seen."""
        return set()

    def threads() -> int:
        """Return how many threads this process has, native ones included."""
        return ps.threads(os.getpid())

    def has_children() -> bool:
        """Return whether this process has a child."""
        own = os.getpid()
        return any(facts[0] == own for facts in ps.processes().values())
