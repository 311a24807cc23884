"""A program: copies the registers and the stacks of threads. Each of them stands still for its own copy alone.

    python -I -S copier.py TID...

It writes one `HEADER` for each thread, in their order, followed by the registers and the stack. The first field is 0,
or the number of the error for which there are none. The threads needn't be those of one process, and any number of
them may be left out at the end: whoever started this goes on with those.

A thread is stopped by PTRACE_SEIZE and PTRACE_INTERRUPT, see ptrace(2): it gets no signal, a call of the system that
it waits in is restarted by the kernel, and one that SIGSTOP has stopped stays so. If this process ends, however that
is, the kernel lets go of what it traces. So a timer that kills it is the limit for a thread's pause, whatever hangs.
It needs the standard library alone, and leaves the session, so that Ctrl-Z at a terminal can't stop it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import sys

HEADER = struct.Struct("=iII")
"""The number of an error, and the bytes of registers and of stack that follow."""
LIMIT = 0.08
"""Seconds after which this process ends, and a thread goes on."""
STACK = 1 << 19
"""The most bytes of a stack that are copied: the innermost calls."""
PAGE = 4096
POINTERS = {"x86_64": (27, 19), "aarch64": (34, 31)}
"""For each machine: how many registers of 8 bytes a thread has, and which of them is the stack pointer."""
NAME = b"accel-copier"
"""The name of this process, of at most 15 bytes."""

SEIZE, INTERRUPT, DETACH, GETREGSET = 0x4206, 0x4207, 17, 0x4204
PRSTATUS = 1  # the general registers
EVERY = 0x40000000  # __WALL: a thread isn't a child of its tracer
EVENT = 16  # above this bit a status says that ptrace has stopped the thread, not a signal
PR_SET_NAME = 15
FIRST_COME = 1  # SCHED_FIFO: before all that is scheduled as usual


class Piece(ctypes.Structure):
    """``struct iovec``: where bytes are, and how many."""

    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class Copier:
    """What is needed for copies, made before anything stands still."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        self._libc.ptrace.restype = ctypes.c_long
        self._libc.process_vm_readv.restype = ctypes.c_ssize_t
        count, self._pointer = POINTERS[os.uname().machine]
        self._registers = (ctypes.c_uint64 * count)()
        self._into = Piece(ctypes.addressof(self._registers), ctypes.sizeof(self._registers))
        self._stack = ctypes.create_string_buffer(STACK)
        self._here = Piece(ctypes.addressof(self._stack), STACK)
        self._there = (Piece * (STACK // PAGE + 1))()

    def copy(self, tid: int) -> tuple[int, bytes, bytes]:
        """Stop a thread, copy its registers and its stack, and let it go on; return an error's number and both."""
        signal.setitimer(signal.ITIMER_REAL, LIMIT)
        try:
            self._trace(SEIZE, tid)
            self._trace(INTERRUPT, tid)
            _, status = os.waitpid(tid, EVERY)
            if not os.WIFSTOPPED(status):
                return errno.ESRCH, b"", b""
            try:
                self._trace(GETREGSET, tid, PRSTATUS, ctypes.addressof(self._into))
                size = self._read(tid, self._registers[self._pointer])
            finally:  # a signal that came at this very moment is passed on
                self._trace(DETACH, tid, 0, 0 if status >> EVENT else os.WSTOPSIG(status))
        except OSError as error:
            return error.errno or errno.EIO, b"", b""
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return 0, bytes(self._registers), self._stack.raw[:size]

    def _trace(self, request: int, tid: int, address: int = 0, data: int = 0) -> None:
        if self._libc.ptrace(request, tid, address, data) < 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    def _read(self, tid: int, pointer: int) -> int:
        """Read a stack up to its end, which is where a page of it can't be read; return the number of bytes."""
        first = PAGE - pointer % PAGE
        struct.pack_into(
            f"={2 * len(self._there)}Q",
            self._there,
            0,
            *(word for at in range(len(self._there)) for word in _piece(pointer, first, at)),
        )
        size = self._libc.process_vm_readv(tid, ctypes.byref(self._here), 1, self._there, len(self._there), 0)
        if size < 0:
            raise OSError(ctypes.get_errno(), "process_vm_readv")
        return size


def _piece(pointer: int, first: int, at: int) -> tuple[int, int]:
    """Return the address and the length of a piece: the rest of a page, then pages; only whole pieces are read."""
    return (pointer, first) if at == 0 else (pointer + first + (at - 1) * PAGE, PAGE)


def main() -> None:
    """Copy the threads that the arguments name."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_NAME, NAME, 0, 0, 0)
    copier = Copier()
    # Few may, and nobody needs to: a thread would only wait longer for its copy.
    libc.sched_setscheduler(0, FIRST_COME, ctypes.byref(ctypes.c_int(1)))
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        for word in sys.argv[1:]:
            error, registers, stack = copier.copy(int(word))
            out.write(HEADER.pack(error, len(registers), len(stack)) + registers + stack)
            out.flush()


if __name__ == "__main__":
    main()
