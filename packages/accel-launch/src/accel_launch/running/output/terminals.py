"""Terminals for ranks, where the launcher has one; and its own, which a rank may read."""

from __future__ import annotations

import os

from accel_launch.ranks.system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Mode = list[Any]

found: Mode | None = None
"""The mode in which the terminal of our standard input was, before a rank had it."""


def opened(*, terminal: bool, named: bool) -> tuple[int, int]:
    """Open a terminal or a pipe; return our end and the rank's, which can be opened by a path if it is ``named``.

    Raises:
        OSError: the system has no more of them.
    """
    ours, ranks_end = open_pair() if terminal else calls.pipe() if named else os.pipe()
    if named:
        calls.share(ranks_end)
    return ours, ranks_end


def open_pair() -> tuple[int, int]:
    """Open a terminal; return our end and the rank's.

    Raises:
        OSError: the system has no more terminals.
    """
    import termios

    ours, ranks_end = os.openpty()
    mode = termios.tcgetattr(ranks_end)
    mode[1] &= ~termios.OPOST  # the user's own terminal does what output needs
    termios.tcsetattr(ranks_end, termios.TCSANOW, mode)
    return ours, ranks_end


def mode() -> Mode | None:
    """Return the mode of the terminal of our standard input; None if it isn't one."""
    import termios

    try:
        return termios.tcgetattr(0)
    except termios.error:
        return None


def edited() -> bool:
    """Return whether a program edits what is typed on that terminal, as a prompt does."""
    import termios

    now = mode()
    return now is not None and not now[3] & termios.ICANON


def remember() -> None:
    """Remember the mode of that terminal, for `restore`."""
    global found  # noqa: PLW0603  there is one standard input
    found = mode()


def restore() -> None:
    """Set that terminal as it was, unless it is somebody else's now: a rank that is killed leaves no echo."""
    if found is not None and not in_background():
        set_mode(found)


def set_mode(wanted: Mode) -> None:
    """Set the mode of that terminal, if it is still there."""
    import termios

    try:
        termios.tcsetattr(0, termios.TCSADRAIN, wanted)
    except termios.error:
        pass


def in_background() -> bool:
    """Return whether that terminal is ours, and another job has it now."""
    try:
        return os.tcgetpgrp(0) != os.getpgrp()
    except OSError:  # it isn't one, or not that of our session
        return False


def await_foreground() -> None:
    """Be stopped as a job that reads the terminal in the background, until it is in the foreground."""
    try:
        os.read(0, 0)  # the kernel looks who reads before it looks how much
    except OSError:  # there is no shell that could continue us
        pass


SIZE = (24, 80)
"""Lines and columns of a terminal that nobody sees."""


def size(fd: int, more: int = 0) -> tuple[int, int]:
    """Return a terminal's lines and columns, with some ``more`` columns.

    Raises:
        OSError: it isn't one.
    """
    columns, lines = os.get_terminal_size(fd)
    return lines, columns + more


def set_size(fd: int, size: tuple[int, int], less: int = 0) -> None:
    """Give a terminal a size, lines and columns, with some columns ``less``.

    Raises:
        OSError: it isn't one.
    """
    import fcntl
    import struct
    import termios

    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[0], max(1, size[1] - less), 0, 0))


def resize(fd: int, like: int, less: int) -> None:
    """Give a terminal the size of another one, with some columns ``less``."""
    import fcntl
    import struct
    import termios

    size = fcntl.ioctl(like, termios.TIOCGWINSZ, b"\0" * 8)
    lines, columns, *pixels = struct.unpack("HHHH", size)
    narrowed = max(1, columns - less) if columns else 0
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, narrowed, *pixels))
