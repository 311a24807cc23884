"""Numbers and expressions of DWARF: section 7.6 (LEB128) and 2.5 (the machine with a stack) of its version 5."""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from accel_launch.inspecting.native.elf import Bytes

MASK = (1 << 64) - 1
MOST = 1000  # steps of an expression
NUMBERS = {"1u": "<B", "1s": "<b", "2u": "<H", "2s": "<h", "4u": "<I", "4s": "<i", "8u": "<Q", "8s": "<q"}
FIXED = dict(zip(range(0x08, 0x10), NUMBERS.values(), strict=True))  # DW_OP_const1u to DW_OP_const8s
LITERALS, BASES = 0x30, 0x70  # DW_OP_lit0, DW_OP_breg0: each with the 31 after it
WIDE = 32
BRANCHES, ALWAYS = (0x28, 0x2F), 0x2F  # DW_OP_bra and DW_OP_skip, which has no condition
LONGEST = 70  # bits of a LEB128, 7 in each byte
MORE = 0x80  # the bit of a byte of LEB128 that says that another one follows


class Reader:
    """Reads one number after the other."""

    def __init__(self, data: Bytes, at: int) -> None:
        self.data = data
        self.at = at

    def number(self, form: str) -> int:
        """Read a number of a form of `struct`.

        Raises:
            ValueError: the data end before it.
        """
        try:
            (found,) = struct.unpack_from(form, self.data, self.at)
        except struct.error as error:
            raise ValueError("a table ends too early") from error
        self.at += struct.calcsize(form)
        return found

    def unsigned(self) -> int:
        """Read an unsigned LEB128."""
        return self._leb()[0]

    def signed(self) -> int:
        """Read a signed LEB128."""
        found, bits = self._leb()
        return found - (1 << bits) if found >> (bits - 1) else found

    def _leb(self) -> tuple[int, int]:
        """Read a LEB128; return its bits as a number, and how many there are."""
        found = bits = 0
        while bits < LONGEST:
            byte = self.number("<B")
            found |= (byte & (MORE - 1)) << bits
            bits += 7
            if byte < MORE:
                return found, bits
        raise ValueError("a number of more than 64 bits")

    def block(self) -> bytes:
        """Read a length, and as many bytes."""
        size = self.unsigned()
        found = bytes(self.data[self.at : self.at + size])
        self.at += size
        return found


def _number(word: int) -> int:
    """Return a word as a signed number."""
    return word - (1 << 64) if word >> 63 else word


# DW_OP_and, minus, mul, or, plus, shl, shr, shra, xor, eq, ge, gt, le, lt, ne, in this order.
TWO: Mapping[int, Callable[[int, int], int]] = {
    0x1A: lambda a, b: a & b,
    0x1C: lambda a, b: a - b,
    0x1E: lambda a, b: a * b,
    0x21: lambda a, b: a | b,
    0x22: lambda a, b: a + b,
    0x24: lambda a, b: a << min(b, 64),
    0x25: lambda a, b: a >> min(b, 64),
    0x26: lambda a, b: _number(a) >> min(b, 64),
    0x27: lambda a, b: a ^ b,
    0x29: lambda a, b: int(a == b),
    0x2A: lambda a, b: int(_number(a) >= _number(b)),
    0x2B: lambda a, b: int(_number(a) > _number(b)),
    0x2C: lambda a, b: int(_number(a) <= _number(b)),
    0x2D: lambda a, b: int(_number(a) < _number(b)),
    0x2E: lambda a, b: int(a != b),
}
"""Operations on the two topmost words."""
ONE: Mapping[int, Callable[[int], int]] = {0x1F: lambda a: -a, 0x20: lambda a: ~a}  # DW_OP_neg, DW_OP_not
"""Operations on the topmost word."""
DEREF = 0x06  # DW_OP_deref: reads memory
OTHERS: Mapping[int, Callable[[list[int], Reader], object]] = {
    0x10: lambda stack, reader: stack.append(reader.unsigned() & MASK),  # DW_OP_constu
    0x11: lambda stack, reader: stack.append(reader.signed() & MASK),  # DW_OP_consts
    0x12: lambda stack, _reader: stack.append(stack[-1]),  # DW_OP_dup
    0x13: lambda stack, _reader: stack.pop(),  # DW_OP_drop
    0x14: lambda stack, _reader: stack.append(stack[-2]),  # DW_OP_over
    0x16: lambda stack, _reader: stack.insert(-1, stack.pop()),  # DW_OP_swap
    0x23: lambda stack, reader: stack.append((stack.pop() + reader.unsigned()) & MASK),  # DW_OP_plus_uconst
    0x96: lambda _stack, _reader: None,  # DW_OP_nop
}
"""Operations that move words, or read them from the expression itself."""


def evaluate(
    text: bytes, registers: Mapping[int, int], word: Callable[[int], int], start: tuple[int, ...] = ()
) -> int:
    """Return what an expression is.

    Args:
        text: The expression.
        registers: Values of registers by their DWARF numbers.
        word: Reads 8 bytes of memory.
        start: What lies on the stack before it.

    Raises:
        ValueError: it has operations that unwinding needs none of, or reads what isn't known.
    """
    stack = list(start)
    reader = Reader(text, 0)
    try:
        for _step in range(MOST):
            if reader.at >= len(text):
                return stack[-1]
            _run(reader, stack, registers, word)
    except (IndexError, KeyError) as error:
        raise ValueError("an expression asks for what isn't known") from error
    raise ValueError("an expression without an end")


def _run(reader: Reader, stack: list[int], registers: Mapping[int, int], word: Callable[[int], int]) -> None:
    """Run one operation."""
    code = reader.number("<B")
    if code in TWO:
        top = stack.pop()
        stack.append(TWO[code](stack.pop(), top) & MASK)
    elif code in ONE:
        stack.append(ONE[code](stack.pop()) & MASK)
    elif code in FIXED:
        stack.append(reader.number(FIXED[code]) & MASK)
    elif LITERALS <= code < LITERALS + WIDE:
        stack.append(code - LITERALS)
    elif BASES <= code < BASES + WIDE:
        stack.append((registers[code - BASES] + reader.signed()) & MASK)
    elif code in BRANCHES:
        step = reader.number("<h")
        if code == ALWAYS or stack.pop():
            reader.at += step
    elif code == DEREF:
        stack.append(word(stack.pop()))
    elif code in OTHERS:
        OTHERS[code](stack, reader)
    else:
        raise ValueError(f"unknown operation {code:#x} of DWARF")
