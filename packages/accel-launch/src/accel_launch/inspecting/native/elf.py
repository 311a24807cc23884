"""ELF files of 64 bits, little-endian: where in a file an address is, and which parts of it have tables.

The form is that of the System V ABI, chapter 4 (object files) and 5 (program loading); see elf(5). Of a file only
what is asked for is read, by way of mmap.
"""

from __future__ import annotations

import mmap
import os
import struct

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Bytes = mmap.mmap | bytes

MAGIC = b"\x7fELF\x02\x01"
"""The beginning of such a file: 64 bits, little-endian."""
SIZE = 64  # bytes of the header
LOAD, EH_FRAME = 1, 0x6474E550  # kinds of segments: PT_LOAD, PT_GNU_EH_FRAME
SEGMENTS, SECTIONS, COUNTS = 32, 40, 54  # where the header has them: e_phoff, e_shoff, e_phentsize and what follows


class Segment(Record):
    """A part of a file that is mapped."""

    address: int
    offset: int
    size: int
    """Bytes in the file."""


class Section(Record):
    """A table of a file."""

    kind: int
    address: int
    offset: int
    size: int
    link: int
    """The number of the section that goes with it: for symbols, the one with their names."""


class Image:
    """A file, or a part of memory that has the form of one.

    Raises:
        ValueError: it is no ELF file of this kind, or broken.
    """

    def __init__(self, data: Bytes) -> None:
        self.data = data
        self.tables: int | None = None
        """The address of ``.eh_frame_hdr``, the index of the tables by which a stack is followed; None without."""
        if data[: len(MAGIC)] != MAGIC or len(data) < SIZE:
            raise ValueError("no ELF file of 64 bits")
        segments: list[Segment] = []
        try:
            for kind, segment in self._segments():
                if kind == LOAD:
                    segments.append(segment)
                elif kind == EH_FRAME:
                    self.tables = segment.address
        except struct.error as error:
            raise ValueError("a broken ELF file") from error
        self._loaded = tuple(segments)

    @classmethod
    def open(cls, path: str) -> Image:
        """Map a file.

        Raises:
            OSError: it can't be read.
            ValueError: it is no ELF file of this kind.
        """
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return cls(mmap.mmap(fd, 0, access=mmap.ACCESS_READ))
        finally:
            os.close(fd)

    def _segments(self) -> Iterator[tuple[int, Segment]]:
        (place,) = struct.unpack_from("<Q", self.data, SEGMENTS)
        size, count = struct.unpack_from("<HH", self.data, COUNTS)
        for number in range(count):
            kind, _flags, offset, address, _physical, length = struct.unpack_from(
                "<IIQQQQ", self.data, place + number * size
            )
            yield kind, Segment(address, offset, length)

    def sections(self) -> list[Section]:
        """Return the sections; none if the file has lost them, or is broken."""
        (place,) = struct.unpack_from("<Q", self.data, SECTIONS)
        size, count = struct.unpack_from("<HH", self.data, COUNTS + 4)
        found: list[Section] = []
        for number in range(count if place else 0):
            try:
                _name, kind, _flags, address, offset, length, link = struct.unpack_from(
                    "<IIQQQQI", self.data, place + number * size
                )
            except struct.error:
                return []
            found.append(Section(kind, address, offset, length, link))
        return found

    def address(self, offset: int) -> int | None:
        """Return the address for which a place in the file was linked; None if it isn't loaded."""
        for each in self._loaded:
            if each.offset <= offset < each.offset + each.size:
                return each.address + offset - each.offset
        for each in self._loaded:  # the loader maps whole pages, so what lies before it in the same page is there too
            if 0 < each.offset - offset <= each.offset % mmap.PAGESIZE:
                return each.address + offset - each.offset
        return None

    def offset(self, address: int) -> int:
        """Return where in the file an address is that was linked.

        Raises:
            ValueError: it isn't loaded from the file.
        """
        for each in self._loaded:
            if each.address <= address < each.address + each.size:
                return each.offset + address - each.address
        raise ValueError(f"{address:#x} isn't in the file")
