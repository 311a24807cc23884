"""How to get from a call to its caller: the tables that compilers write for exceptions.

``.eh_frame_hdr`` is a sorted index (Linux Standard Base, Core, "Exception Frames"), which is searched by halves. It
leads to a description of one function in ``.eh_frame`` (FDE) with what it shares with others (CIE). Their
instructions are those of DWARF 5, section 6.4.2; where ``.eh_frame`` differs, the Linux Standard Base says how. Only
the description that is needed is read.
"""

from __future__ import annotations

import struct

from accel_config.record import Record
from accel_launch.inspecting.native.expressions import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from accel_launch.inspecting.native.elf import Image

INDEX = b"\x01\x1b\x03\x3b"
"""The only form of an index that linkers write: its version, and how its three kinds of numbers are encoded."""
HEADER, PAIR = 12, 8  # bytes before the index, and of an entry: a function and its description, from the header on
# Encodings of pointers: what a number looks like, and from where it counts.
FORMS = {0x00: "<Q", 0x02: "<H", 0x03: "<I", 0x04: "<Q", 0x0A: "<h", 0x0B: "<i", 0x0C: "<q"}
FORM, FROM = 0x0F, 0x70
FROM_HERE, FROM_INDEX, OMITTED = 0x10, 0x30, 0xFF
LONG = 0xFFFFFFFF  # a length that says that the real one follows, of 8 bytes

# How a register of the caller is found.
UNDEFINED, SAME, AT, IS, IN, AT_EXPRESSION, IS_EXPRESSION = range(7)
Rule = tuple[int, "int | bytes"]


class Row(Record):
    """What holds at one instruction of a function."""

    frame: tuple[int, int] | bytes
    """The address of the call's frame: a register and what is added to it, or an expression."""
    rules: Mapping[int, Rule]
    """How each register of the caller is found, by DWARF numbers; the others are as they are."""
    back: int
    """The register with the address at which the caller goes on."""
    signal: bool
    """Whether that is the trampoline of a signal, whose caller was interrupted before the instruction."""
    signed: bool
    """Whether that address holds a signature (aarch64)."""


class _Shared(Record):
    """What the descriptions of functions share (CIE)."""

    code: int
    data: int
    back: int
    encoding: int
    augmented: bool
    signal: bool
    program: tuple[int, int]


def find(image: Image, address: int) -> Row | None:
    """Return what holds at an address of a file, as it was linked; None if the file doesn't describe it.

    Raises:
        ValueError: the tables are broken, or of a form that nobody writes.
    """
    if image.tables is None:
        return None
    described = _search(image, image.tables, address)
    return None if described is None else _description(image, described, address)


def _search(image: Image, index: int, address: int) -> int | None:
    """Return the address of the description of the last function that begins at an address, or before it."""
    at = image.offset(index)
    if image.data[at : at + len(INDEX)] != INDEX:
        return None
    wanted = address - index
    try:
        low, (high,) = 0, struct.unpack_from("<I", image.data, at + 8)
        while high - low > 1:
            middle = (low + high) // 2
            (begin,) = struct.unpack_from("<i", image.data, at + HEADER + PAIR * middle)
            low, high = (middle, high) if begin <= wanted else (low, middle)
        begin, found = struct.unpack_from("<ii", image.data, at + HEADER + PAIR * low)
    except struct.error as error:
        raise ValueError("the index of the tables ends too early") from error
    return index + found if high and begin <= wanted else None


def _description(image: Image, where: int, address: int) -> Row | None:
    """Read a description (FDE), and run it up to an address; None if the function ends before that."""
    reader = Reader(image.data, image.offset(where))
    end = _end(reader)
    place = reader.at
    shared = _shared(image, place - reader.number("<I"))
    begin = _pointer(image, reader, shared.encoding)
    size = _pointer(image, reader, shared.encoding & FORM)
    if not begin <= address < begin + size:
        return None
    if shared.augmented:
        reader.block()
    return _Machine(image, shared, begin).run(address, reader.at, end)


def _end(reader: Reader) -> int:
    """Read the length of a description; return where it ends."""
    size = reader.number("<I")
    if size == LONG:
        size = reader.number("<Q")
    return reader.at + size


def _shared(image: Image, at: int) -> _Shared:
    """Read what descriptions share (CIE)."""
    reader = Reader(image.data, at)
    end = _end(reader)
    reader.number("<I")
    version = reader.number("<B")
    letters = bytes(image.data[reader.at : image.data.find(b"\0", reader.at)])
    reader.at += len(letters) + 1
    code, data = reader.unsigned(), reader.signed()
    back = reader.number("<B") if version == 1 else reader.unsigned()
    encoding = 0
    augmented = letters.startswith(b"z")
    after = reader.unsigned() + reader.at if augmented else reader.at
    for letter in letters[1:] if augmented else b"":
        if letter in b"RL":
            found = reader.number("<B")
            encoding = found if letter in b"R" else encoding
        elif letter in b"P":
            _pointer(image, reader, reader.number("<B"))
    return _Shared(code, data, back, encoding, augmented, b"S" in letters, (after, end))


def _pointer(image: Image, reader: Reader, encoding: int) -> int:
    """Read an encoded pointer."""
    if encoding == OMITTED:
        return 0
    place, form = reader.at, encoding & FORM
    if form not in FORMS:
        raise ValueError(f"a pointer of form {form:#x}")
    found = reader.number(FORMS[form])
    if encoding & FROM == FROM_HERE:
        found += image.address(place) or 0
    elif encoding & FROM == FROM_INDEX:
        found += image.tables or 0
    return found


class _Machine:
    """Runs the instructions of a description: they make the row of one address from that of the one before."""

    def __init__(self, image: Image, shared: _Shared, begin: int) -> None:
        self.image = image
        self.shared = shared
        self.at = begin
        self.frame: tuple[int, int] | bytes = (0, 0)
        self.rules: dict[int, Rule] = {}
        self.first: dict[int, Rule] = {}
        self.kept: list[tuple[tuple[int, int] | bytes, dict[int, Rule]]] = []
        self.signed = False

    def run(self, address: int, begin: int, end: int) -> Row:
        """Run what all functions begin with, then a function's own instructions, until they are past an address."""
        self._all(address, *self.shared.program)
        self.first = dict(self.rules)
        self._all(address, begin, end)
        return Row(self.frame, self.rules, self.shared.back, self.shared.signal, self.signed)

    def _all(self, address: int, begin: int, end: int) -> None:
        reader = Reader(self.image.data, begin)
        while reader.at < end and self.at <= address:
            code = reader.number("<B")
            kind, low = code & 0xC0, code & 0x3F
            if kind == ADVANCE:
                self.advance(low)
            elif kind == OFFSET:
                self.rules[low] = AT, reader.unsigned() * self.shared.data
            elif kind == RESTORE:
                self.restore(low)
            elif code in RULES:
                register, (found, operand) = reader.unsigned(), RULES[code]
                self.rules[register] = found, operand(reader, self.shared.data)
            elif code in STEPS:
                STEPS[code](self, reader)
            else:
                raise ValueError(f"unknown instruction {code:#x} of DWARF")

    def advance(self, steps: int) -> None:
        """Go on to a later instruction of the function."""
        self.at += steps * self.shared.code

    def restore(self, register: int) -> None:
        """Let a register be found as at the function's beginning."""
        if register in self.first:
            self.rules[register] = self.first[register]
        else:
            self.rules.pop(register, None)

    def framed(self, *, register: int | None = None, offset: int | None = None) -> None:
        """Set the address of the frame, or a part of it."""
        if isinstance(self.frame, bytes):
            if register is None or offset is None:
                raise ValueError("a part of an expression is changed")
            self.frame = 0, 0
        self.frame = (
            self.frame[0] if register is None else register,
            self.frame[1] if offset is None else offset,
        )

    def back_to_kept(self) -> None:
        """Return to what was remembered last."""
        if not self.kept:
            raise ValueError("a state is restored that was never remembered")
        self.frame, self.rules = self.kept.pop()


def _step_to(machine: _Machine, reader: Reader) -> None:
    machine.at = _pointer(machine.image, reader, machine.shared.encoding)


def _expressed(machine: _Machine, reader: Reader) -> None:
    machine.frame = reader.block()


def _signed(machine: _Machine, _reader: Reader) -> None:
    machine.signed = not machine.signed


def _nothing(_machine: _Machine, _reader: Reader) -> None:
    pass


ADVANCE, OFFSET, RESTORE = 0x40, 0x80, 0xC0
"""DW_CFA_advance_loc, DW_CFA_offset and DW_CFA_restore: their operand is in the other six bits."""
RULES: Mapping[int, tuple[int, Callable[[Reader, int], int | bytes]]] = {
    0x05: (AT, lambda reader, data: reader.unsigned() * data),  # DW_CFA_offset_extended
    0x07: (UNDEFINED, lambda _reader, _data: 0),  # DW_CFA_undefined
    0x08: (SAME, lambda _reader, _data: 0),  # DW_CFA_same_value
    0x09: (IN, lambda reader, _data: reader.unsigned()),  # DW_CFA_register
    0x10: (AT_EXPRESSION, lambda reader, _data: reader.block()),  # DW_CFA_expression
    0x11: (AT, lambda reader, data: reader.signed() * data),  # DW_CFA_offset_extended_sf
    0x14: (IS, lambda reader, data: reader.unsigned() * data),  # DW_CFA_val_offset
    0x15: (IS, lambda reader, data: reader.signed() * data),  # DW_CFA_val_offset_sf
    0x16: (IS_EXPRESSION, lambda reader, _data: reader.block()),  # DW_CFA_val_expression
    0x2F: (AT, lambda reader, data: -reader.unsigned() * data),  # DW_CFA_GNU_negative_offset_extended
}
"""Instructions that name a register, and say how it is found; DWARF 5, section 6.4.2.3."""
STEPS: Mapping[int, Callable[[_Machine, Reader], object]] = {
    0x00: _nothing,  # DW_CFA_nop
    0x01: _step_to,  # DW_CFA_set_loc
    0x02: lambda machine, reader: machine.advance(reader.number("<B")),  # DW_CFA_advance_loc1
    0x03: lambda machine, reader: machine.advance(reader.number("<H")),  # DW_CFA_advance_loc2
    0x04: lambda machine, reader: machine.advance(reader.number("<I")),  # DW_CFA_advance_loc4
    0x06: lambda machine, reader: machine.restore(reader.unsigned()),  # DW_CFA_restore_extended
    0x0A: lambda machine, _reader: machine.kept.append((machine.frame, dict(machine.rules))),  # DW_CFA_remember_state
    0x0B: lambda machine, _reader: machine.back_to_kept(),  # DW_CFA_restore_state
    # DW_CFA_def_cfa, DW_CFA_def_cfa_register, DW_CFA_def_cfa_offset, DW_CFA_def_cfa_expression
    0x0C: lambda machine, reader: machine.framed(register=reader.unsigned(), offset=reader.unsigned()),
    0x0D: lambda machine, reader: machine.framed(register=reader.unsigned()),
    0x0E: lambda machine, reader: machine.framed(offset=reader.unsigned()),
    0x0F: _expressed,
    # DW_CFA_def_cfa_sf, DW_CFA_def_cfa_offset_sf
    0x12: lambda machine, reader: machine.framed(
        register=reader.unsigned(), offset=reader.signed() * machine.shared.data
    ),
    0x13: lambda machine, reader: machine.framed(offset=reader.signed() * machine.shared.data),
    0x2D: _signed,  # DW_CFA_AARCH64_negate_ra_state
    0x2E: lambda _machine, reader: reader.unsigned(),  # DW_CFA_GNU_args_size
}
"""The other instructions; DWARF 5, sections 6.4.2.1, 6.4.2.2, 6.4.2.4 and 6.4.2.5."""
