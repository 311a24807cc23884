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
    from collections.abc import Mapping

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
    low, (high,) = 0, struct.unpack_from("<I", image.data, at + 8)
    wanted = address - index
    try:
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
    if form == 0x01:
        found = reader.unsigned()
    elif form == 0x09:
        found = reader.signed()
    else:
        found = reader.number(FORMS.get(form, "<Q"))
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
            if kind == 0x40:  # DW_CFA_advance_loc
                self.at += low * self.shared.code
            elif kind == 0x80:  # DW_CFA_offset
                self.rules[low] = AT, reader.unsigned() * self.shared.data
            elif kind == 0xC0:  # DW_CFA_restore
                self._restore(low)
            else:
                self._step(code, reader)

    def _step(self, code: int, reader: Reader) -> None:
        """Run an instruction that has a byte for itself."""
        if code in (0x02, 0x03, 0x04):  # DW_CFA_advance_loc1, 2, 4
            self.at += reader.number({2: "<B", 3: "<H", 4: "<I"}[code]) * self.shared.code
        elif code == 0x01:  # DW_CFA_set_loc
            self.at = _pointer(self.image, reader, self.shared.encoding)
        elif code in (0x0C, 0x0D, 0x0E, 0x0F, 0x12, 0x13):
            self.frame = self._framed(code, reader)
        elif code == 0x0A:  # DW_CFA_remember_state
            self.kept.append((self.frame, dict(self.rules)))
        elif code == 0x0B:  # DW_CFA_restore_state
            if not self.kept:
                raise ValueError("a state is restored that was never remembered")
            self.frame, self.rules = self.kept.pop()
        elif code == 0x2D:  # DW_CFA_AARCH64_negate_ra_state
            self.signed = not self.signed
        elif code == 0x2E:  # DW_CFA_GNU_args_size
            reader.unsigned()
        elif code:  # DW_CFA_nop is 0
            self._rule(code, reader)

    def _framed(self, code: int, reader: Reader) -> tuple[int, int] | bytes:
        """Return the new address of the frame: DW_CFA_def_cfa and its relatives."""
        if code == 0x0F:
            return reader.block()
        if code == 0x0C:
            return reader.unsigned(), reader.unsigned()
        if code == 0x12:
            return reader.unsigned(), reader.signed() * self.shared.data
        if isinstance(self.frame, bytes):
            raise ValueError("a part of an expression is changed")
        register, offset = self.frame
        if code == 0x0D:
            return reader.unsigned(), offset
        return register, reader.unsigned() if code == 0x0E else reader.signed() * self.shared.data

    def _rule(self, code: int, reader: Reader) -> None:
        """Run an instruction that says how a register is found."""
        register = reader.unsigned()
        data = self.shared.data
        if code == 0x06:  # DW_CFA_restore_extended
            self._restore(register)
        elif code in (0x07, 0x08):  # DW_CFA_undefined, DW_CFA_same_value
            self.rules[register] = (UNDEFINED if code == 0x07 else SAME), 0
        elif code == 0x09:  # DW_CFA_register
            self.rules[register] = IN, reader.unsigned()
        elif code in (0x05, 0x14):  # DW_CFA_offset_extended, DW_CFA_val_offset
            self.rules[register] = (AT if code == 0x05 else IS), reader.unsigned() * data
        elif code in (0x11, 0x15):  # the same, with a sign
            self.rules[register] = (AT if code == 0x11 else IS), reader.signed() * data
        elif code in (0x10, 0x16):  # DW_CFA_expression, DW_CFA_val_expression
            self.rules[register] = (AT_EXPRESSION if code == 0x10 else IS_EXPRESSION), reader.block()
        elif code == 0x2F:  # DW_CFA_GNU_negative_offset_extended
            self.rules[register] = AT, -reader.unsigned() * data
        else:
            raise ValueError(f"unknown instruction {code:#x} of DWARF")

    def _restore(self, register: int) -> None:
        if register in self.first:
            self.rules[register] = self.first[register]
        else:
            self.rules.pop(register, None)
