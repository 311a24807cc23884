"""Threads of a process, and what they call."""

from __future__ import annotations

from accel_config.record import Record

NO_PYTHON = "not a Python process"
"""Why there are none of a program in another language."""
NO_CALLS = "py-spy sees no calls of its main thread"
"""Why nothing is known of a process whose path isn't UTF-8, or that has thousands of calls."""


class Frame(Record):
    """A call on a stack."""

    function: str
    file: str
    line: int
    """0 of a call of C whose line isn't known."""
    variables: tuple[tuple[str, str], ...] = ()
    """Names and values of its local variables, where they were asked for."""


class Thread(Record):
    """A thread's stack."""

    id: int
    """The kernel's number; that of the main thread is the pid. 0 if it isn't known, as before Python 3.11."""
    name: str
    active: bool
    """Whether it ran when it was read."""
    gil: bool
    """Whether it held the interpreter's lock."""
    frames: tuple[Frame, ...]
    """Innermost call first."""


class Sampled(Record):
    """A thread as py-spy has read it."""

    thread: Thread
    """With the calls of our own programs."""
    entries: tuple[bool, ...]
    """For each call, whether a call of C has entered the interpreter's loop for it."""
    pointer: int = 0
    """Where the C library keeps it (``pthread_t``): what py-spy calls it if it has no number."""
    numbered: bool = True
    """Whether the interpreter keeps the kernel's number of it; Python before 3.11 doesn't."""
