"""The calls on a copied stack, from the innermost one outwards."""

from __future__ import annotations

import os
import struct

from accel_config.record import Record
from accel_launch.inspecting.native import tables
from accel_launch.inspecting.native.expressions import MASK, evaluate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.inspecting.native.copying import Copy
    from accel_launch.inspecting.native.spaces import Space
    from accel_launch.inspecting.native.tables import Row

MOST = 2000  # calls of a stack
ADDRESS = (1 << 48) - 1  # bits of an address on aarch64; above them may be a signature


class Machine(Record):
    """Where a machine's registers are: the order of PTRACE_GETREGSET by the numbers of DWARF, and two of those."""

    order: tuple[int, ...]
    pointer: int
    """The DWARF number of the stack pointer."""
    program: int
    """Where PTRACE_GETREGSET has the address of the next instruction."""
    counter: int | None
    """The DWARF number of that; None if it has none."""


MACHINES = {
    # The System V ABI for x86-64, figure 3.36; rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8 to r15, rip in DWARF.
    "x86_64": Machine((10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0, 16), 7, 16, 16),
    # "DWARF for the Arm 64-bit Architecture", section 4.1: x0 to x30, sp.
    "aarch64": Machine(tuple(range(32)), 31, 32, None),
}


class Stack(Record):
    """The calls of a thread."""

    calls: tuple[int, ...]
    """An address inside of the instruction that each of them executes, innermost first."""
    whole: bool
    """Whether the outermost one was reached; else nothing says how to go on from the last."""


def unwind(copy: Copy, space: Space) -> Stack:
    """Return the calls on a copied stack."""
    machine = MACHINES[os.uname().machine]
    registers = {number: copy.registers[place] for number, place in enumerate(machine.order)}
    at, exact = copy.registers[machine.program], True
    calls: list[int] = []
    while at and len(calls) < MOST:
        here = at if exact else at - 1  # a call may be the last instruction of a function
        calls.append(here)
        try:
            row = space.row(here)
            if row is None:
                return Stack(tuple(calls), whole=False)
            if row.rules.get(row.back, (tables.SAME, 0))[0] == tables.UNDEFINED:
                return Stack(tuple(calls), whole=True)
            if machine.counter is not None:
                registers[machine.counter] = at
            before = registers[machine.pointer]
            registers = _caller(row, registers, copy, machine.pointer)
            at = registers[row.back]
        except (ValueError, KeyError):
            return Stack(tuple(calls), whole=False)
        if row.signed:
            at &= ADDRESS
        if registers[machine.pointer] <= before and not (exact or row.signal):
            return Stack(tuple(calls), whole=False)  # it would never end
        exact = row.signal
    return Stack(tuple(calls), whole=not at)


def _caller(row: Row, registers: dict[int, int], copy: Copy, pointer: int) -> dict[int, int]:
    """Return the registers of the caller, as far as they are known."""

    def word(address: int) -> int:
        place = address - copy.pointer
        if not 0 <= place <= len(copy.stack) - 8:
            raise ValueError(f"{address:#x} wasn't copied")
        return struct.unpack_from("<Q", copy.stack, place)[0]

    if isinstance(row.frame, bytes):
        frame = evaluate(row.frame, registers, word)
    else:
        frame = (registers[row.frame[0]] + row.frame[1]) & MASK
    found = {**registers, pointer: frame}
    for register, (kind, what) in row.rules.items():
        if kind == tables.UNDEFINED:
            found.pop(register, None)
        elif isinstance(what, bytes):
            value = evaluate(what, registers, word, (frame,))
            found[register] = word(value) if kind == tables.AT_EXPRESSION else value
        elif kind in (tables.AT, tables.IS):
            value = (frame + what) & MASK
            found[register] = word(value) if kind == tables.AT else value
        elif kind == tables.IN:
            found[register] = registers[what]
    return found
