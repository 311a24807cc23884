"""The files that imports found: whether importing again would find the same."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Stamp = tuple[int, int, int, int] | None

TICK = 10_000_000  # nanoseconds by which the time of a file may be behind
JUMP = 1_000_000_000  # nanoseconds by which a clock differs that was set meanwhile
AHEAD = 3600 * JUMP  # by which a file server's clock may be ahead
INSTALLED = (".pth", ".dist-info", ".egg-info", ".egg-link")
"""Names that also say what an interpreter can import."""


class Files:
    """The names that were looked for, in which folders, and the files of all that was loaded."""

    def __init__(self) -> None:
        """Watch from now on, as a finder of modules that finds none."""
        self.began, self.counted = time.time_ns(), time.monotonic_ns()
        self.sought: dict[str, set[str]] = {}
        self.found: dict[str, Stamp] = {}
        self.names: dict[str, set[str]] = {}
        self.late = ""
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:  # noqa: ARG002
        """Note where a name is looked for."""
        stem = name.rpartition(".")[2]
        for folder in sys.path if path is None else list(path):
            if isinstance(folder, str):
                self.sought.setdefault(folder, set()).add(stem)

    def close(self) -> None:
        """Stop watching, and read what is there now."""
        sys.meta_path.remove(self)
        here = os.getcwd()
        self.sought = {os.path.join(here, folder): stems for folder, stems in self.sought.items()}
        self.installed = {os.path.join(here, folder) for folder in sys.path}
        self.names = {folder: self._names(folder) for folder in {*self.sought, *self.installed}}
        listed = [os.path.join(folder, name) for folder, names in self.names.items() for name in names]
        pointing = {path for path in listed if path.endswith(".pth")}
        settings = {os.path.join(sys.prefix, "pyvenv.cfg")}
        self.found = {path: stamp(path) for path in loaded() | pointing | settings}
        # What was written during the import may be newer than what was imported. A file of tomorrow wasn't.
        took, now = time.monotonic_ns() - self.counted, time.time_ns()
        written = ((path, seen[0]) for path, seen in self.found.items() if seen is not None)
        late = [path for path, at in written if self.began - TICK <= at <= now + AHEAD]
        set_anew = abs(now - self.began - took) > JUMP
        self.late = late[0] if late else "the clock" if set_anew else ""

    def changed(self) -> str:
        """Return what has changed since then, in words; an empty text if nothing has."""
        if self.late:
            return f"{self.late} has changed"
        for path, seen in self.found.items():
            if stamp(path) != seen:
                return f"{path} has changed"
        for folder, names in self.names.items():
            differing = self._names(folder) ^ names
            if differing:
                return f"{os.path.join(folder, min(differing))} has changed"
        return ""

    def _names(self, folder: str) -> set[str]:
        try:
            entries = os.listdir(folder)
        except OSError:
            return set()
        stems, ends = self.sought.get(folder, set()), INSTALLED if folder in self.installed else ()
        return {name for name in entries if name.partition(".")[0] in stems or name.endswith(ends)}


def stamp(path: str) -> Stamp:
    """Return by what a file is recognized; for a member of an archive, the archive."""
    while True:
        try:
            seen = os.stat(path)
        except NotADirectoryError:
            path = os.path.dirname(path)
        except OSError:
            return None
        else:
            return seen.st_mtime_ns, seen.st_size, seen.st_ino, seen.st_dev


def loaded() -> set[str]:
    """Return the files of all modules and libraries that this process has loaded."""
    found: set[str] = set()
    for module in list(sys.modules.values()):
        try:
            names: dict[str, Any] = object.__getattribute__(module, "__dict__")  # a module may make others on access
        except AttributeError:
            continue
        spec = names.get("__spec__")
        for path in (names.get("__file__"), getattr(spec, "origin", None)):
            if isinstance(path, str) and os.path.isabs(path):
                found.add(path)
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        mapped = {line.split(None, 5)[5].rstrip("\n") for line in file if "/" in line}
    return found | {path for path in mapped if path.startswith("/") and not path.startswith(("/dev/", "/memfd:"))}
