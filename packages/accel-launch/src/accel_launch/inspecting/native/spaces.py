"""What a process has mapped: the file of each address, and memory that belongs to no file."""

from __future__ import annotations

import bisect
import os

from accel_config.record import Record
from accel_launch.inspecting.native import tables
from accel_launch.inspecting.native.elf import Image
from accel_launch.inspecting.native.symbols import Symbols

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.inspecting.native.tables import Row

KERNELS = "[vdso]"
"""The part of the kernel that each process has mapped: it has the form of a file, and is none."""
GONE = " (deleted)"


class Mapping(Record):
    """A line of ``/proc/PID/maps``, see proc_pid_maps(5)."""

    start: int
    end: int
    offset: int
    inode: int
    path: str


class Files:
    """Files that are open, and their symbols, for all processes of one call: each is read once."""

    def __init__(self) -> None:
        self._images: dict[tuple[str, int], Image | None] = {}
        self._symbols: dict[int, Symbols] = {}

    def image(self, pid: int, mapping: Mapping) -> Image | None:
        """Return the file of a mapping; None if it can't be read, or has been replaced since."""
        key = (mapping.path, mapping.inode or pid)
        if key not in self._images:
            self._images[key] = _vdso(pid, mapping) if mapping.path == KERNELS else _file(pid, mapping)
        return self._images[key]

    def symbols(self, image: Image) -> Symbols:
        """Return the symbols of a file."""
        if id(image) not in self._symbols:
            self._symbols[id(image)] = Symbols(image)
        return self._symbols[id(image)]


def _file(pid: int, mapping: Mapping) -> Image | None:
    """Open a mapped file: the one that is mapped, for which a right may be missing, else the one of that name."""
    if not mapping.path.startswith("/"):
        return None
    for path in (
        f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}",
        f"/proc/{pid}/root{mapping.path.removesuffix(GONE)}",
    ):
        try:
            if os.stat(path).st_ino == mapping.inode:
                return Image.open(path)
        except (OSError, ValueError):
            continue
    return None


def _vdso(pid: int, mapping: Mapping) -> Image | None:
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            memory.seek(mapping.start)
            return Image(memory.read(mapping.end - mapping.start))
    except (OSError, ValueError):
        return None


class Space:
    """The addresses of a process.

    Raises:
        OSError: it has ended, or may not be read.
    """

    def __init__(self, pid: int, files: Files) -> None:
        self.pid = pid
        self.files = files
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
            self.mappings = [found for line in file if (found := _mapping(line)) is not None]
        self._starts = [each.start for each in self.mappings]

    def mapping(self, address: int) -> Mapping | None:
        """Return what is mapped at an address; None if nothing is that has a name."""
        at = bisect.bisect(self._starts, address) - 1
        return self.mappings[at] if at >= 0 and address < self.mappings[at].end else None

    def linked(self, address: int) -> tuple[Image, int] | None:
        """Return the file of an address, and the address for which it was linked; None if it has none."""
        mapping = self.mapping(address)
        image = self.files.image(self.pid, mapping) if mapping is not None else None
        if mapping is None or image is None:
            return None
        found = image.address(address - mapping.start + mapping.offset)
        return None if found is None else (image, found)

    def row(self, address: int) -> Row | None:
        """Return how the caller of a call at an address is found; None if nothing says that.

        Raises:
            ValueError: the tables of the file are broken.
        """
        found = self.linked(address)
        return None if found is None else tables.find(*found)


def _mapping(line: str) -> Mapping | None:
    """Read a line; None if it has no name."""
    words = line.rstrip("\n").split(maxsplit=5)
    if len(words) < 6:  # noqa: PLR2004  a name is the last of them
        return None
    start, _, end = words[0].partition("-")
    offset = 0 if words[5] == KERNELS else int(words[2], 16)
    return Mapping(int(start, 16), int(end, 16), offset, int(words[4]), words[5].replace("\\012", "\n"))
