"""Copies of threads: starts the program that makes them, and reads what it writes."""

from __future__ import annotations

import errno
import os
import struct
import subprocess  # noqa: TID251  the program that traces: if it dies, the threads go on
import sys
import time

from accel_config.record import Record
from accel_launch.inspecting.native import copier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Copy(Record):
    """A thread's registers and its stack, of one moment."""

    registers: tuple[int, ...]
    """As PTRACE_GETREGSET orders them."""
    stack: bytes
    """From the stack pointer on."""

    @property
    def pointer(self) -> int:
        """The stack pointer: the address of the first byte of `stack`."""
        return self.registers[copier.POINTERS[os.uname().machine][1]]


def copy(tids: Iterable[int], until: float) -> dict[int, Copy | int]:
    """Return a copy of each thread, or the number of the error for which there is none.

    ETIMEDOUT is that of a thread that didn't stop in time, such as one that is blocked in the kernel, and of those
    for which there was no time before ``until``, of the monotonic clock.

    Raises:
        OSError: no process or descriptor is left for the program.
    """
    waiting = list(tids)
    found: dict[int, Copy | int] = {}
    while waiting and time.monotonic() < until:
        words = [sys.executable, "-I", "-S", copier.__file__, *map(str, waiting)]
        done = _parsed(_output(words, until))
        found.update(zip(waiting, done, strict=False))
        del waiting[: len(done)]
        if waiting:  # its timer has killed it: the next thread didn't stop
            found[waiting.pop(0)] = errno.ETIMEDOUT
    return {**found, **dict.fromkeys(waiting, errno.ETIMEDOUT)}


def _output(words: list[str], until: float) -> bytes:
    with subprocess.Popen(  # noqa: S603
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as popen:
        try:
            return popen.communicate(timeout=max(until - time.monotonic(), 0.0))[0]
        except subprocess.TimeoutExpired:
            popen.kill()
            return popen.communicate()[0]


def _parsed(out: bytes) -> list[Copy | int]:
    """Return what the program has written; the last part is left out if it isn't whole."""
    found: list[Copy | int] = []
    at = 0
    while at + copier.HEADER.size <= len(out):
        error, registers, stack = copier.HEADER.unpack_from(out, at)
        at += copier.HEADER.size
        if at + registers + stack > len(out):
            break
        words = struct.unpack_from(f"={registers // 8}Q", out, at)
        found.append(error or Copy(words, out[at + registers : at + registers + stack]))
        at += registers + stack
    return found
