"""The functions at addresses of a file, by its symbols: those of ``.symtab``, else those of ``.dynsym``.

The tables of torch's libraries have half a million of symbols. They are never read one by one: a view on the file
gives all their addresses at once, and only the few that are needed are looked at.
"""

from __future__ import annotations

import bisect
import struct

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


def functions(image: Image, addresses: Iterable[int]) -> dict[int, bytes]:
    """Return the name of the function at each address, as it was linked; those of no function are left out."""
    found: dict[int, bytes] = {}
    waiting = set(addresses)
    sections = image.sections()
    for kind in (ALL, DYNAMIC):
        for section in sections:
            if section.kind == kind and section.link < len(sections) and waiting:
                found.update(_named(image, section, sections[section.link], waiting))
                waiting -= found.keys()
    return found


def _named(image: Image, symbols: Section, names: Section, addresses: Iterable[int]) -> dict[int, bytes]:
    count = min(symbols.size, len(image.data) - symbols.offset) // SYMBOL.size
    if count <= 0:
        return {}
    with memoryview(image.data) as data, data[symbols.offset : symbols.offset + count * SYMBOL.size] as table:
        values: list[int] = table.cast("Q")[1::WORDS].tolist()
    known = sorted(set(values))
    candidates = {
        address: known[max(at - FURTHER, 0) : at] for address in addresses if (at := bisect.bisect(known, address))
    }
    wanted = {value for each in candidates.values() for value in each}
    at_value: dict[int, list[tuple[int, int, int]]] = {}
    for number in [number for number, value in enumerate(values) if value in wanted]:
        name, info, _, section, value, size = SYMBOL.unpack_from(image.data, symbols.offset + number * SYMBOL.size)
        if info & 0xF in FUNCTIONS and section and info >> 4 in BINDINGS:
            at_value.setdefault(value, []).append((BINDINGS.index(info >> 4), name, size))
    found: dict[int, bytes] = {}
    for address, each in candidates.items():
        for value in reversed(each):
            covering = [one for one in sorted(at_value.get(value, ())) if not one[2] or address < value + one[2]]
            if covering:
                begin = names.offset + covering[0][1]
                found[address] = bytes(image.data[begin : image.data.find(b"\0", begin)])
                break
    return found
