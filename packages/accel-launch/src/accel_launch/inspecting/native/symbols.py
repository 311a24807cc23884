"""The functions at addresses of a file, by its symbols: those of ``.symtab``, else those of ``.dynsym``.

The tables of torch's libraries have half a million symbols. They aren't read one by one: a view on the file gives all
their addresses at once, and only the few that are needed are looked at. The addresses are kept for the next process.
"""

from __future__ import annotations

import bisect
import struct
from array import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from accel_launch.inspecting.native.elf import Image, Section

ALL, DYNAMIC = 2, 11  # kinds of sections: SHT_SYMTAB, SHT_DYNSYM
SYMBOL = struct.Struct("<IBBHQQ")
"""Elf64_Sym: where its name is, type and binding, visibility, its section, address and size."""
WORDS = 3  # of 8 bytes in a symbol; the second is its address
FUNCTIONS = (2, 10)  # STT_FUNC, STT_GNU_IFUNC
BINDINGS = (1, 2, 0)  # which of several names is taken: STB_GLOBAL, STB_WEAK, STB_LOCAL
FURTHER = 8  # symbols before an address that are looked at: some lie inside of others


class Symbols:
    """The symbols of a file."""

    def __init__(self, image: Image) -> None:
        sections = image.sections()
        self._found: dict[int, bytes] = {}
        self._tables = [
            _Table(image, section, sections[section.link])
            for kind in (ALL, DYNAMIC)
            for section in sections
            if section.kind == kind and section.link < len(sections)
        ]

    def functions(self, addresses: Iterable[int]) -> dict[int, bytes]:
        """Return the name of the function at each address, as it was linked; those of no function are left out."""
        wanted = set(addresses)
        for table in self._tables:
            if waiting := wanted - self._found.keys():
                self._found.update(table.functions(waiting))
        return {address: self._found[address] for address in wanted & self._found.keys()}


class _Table:
    """One of a file's tables of symbols."""

    def __init__(self, image: Image, symbols: Section, names: Section) -> None:
        self._data = image.data
        self._offset, self._names = symbols.offset, names.offset
        self._count = max(min(symbols.size, len(image.data) - symbols.offset) // SYMBOL.size, 0)
        self._values: array[int] | None = None
        self._sorted: array[int] = array("Q")

    def functions(self, addresses: Iterable[int]) -> dict[int, bytes]:
        """Return the names of the functions that this table knows."""
        if self._values is None:
            end = self._offset + self._count * SYMBOL.size
            self._values = array("Q", self._data[self._offset : end])[1::WORDS]
            self._sorted = array("Q", sorted(set(self._values)))
        before: dict[int, array[int]] = {}
        for address in addresses:
            at = bisect.bisect(self._sorted, address)
            before[address] = self._sorted[max(at - FURTHER, 0) : at]
        known = self._known({value for each in before.values() for value in each}, self._values)
        found: dict[int, bytes] = {}
        for address, values in before.items():
            covering = (
                name
                for value in reversed(values)
                for _, name, size in sorted(known.get(value, ()))
                if not size or address < value + size
            )
            if (name := next(covering, None)) is not None:
                begin = self._names + name
                found[address] = bytes(self._data[begin : self._data.find(b"\0", begin)])
        return found

    def _known(self, wanted: set[int], values: array[int]) -> dict[int, list[tuple[int, int, int]]]:
        """Return the functions at some addresses: for each how well it is bound, where its name is, and its size."""
        found: dict[int, list[tuple[int, int, int]]] = {}
        for number in [number for number, value in enumerate(values) if value in wanted]:
            name, info, _, section, value, size = SYMBOL.unpack_from(self._data, self._offset + number * SYMBOL.size)
            if info & 0xF in FUNCTIONS and section and info >> 4 in BINDINGS:
                found.setdefault(value, []).append((BINDINGS.index(info >> 4), name, size))
        return found
