"""Terminals for ranks, where the launcher has one."""

from __future__ import annotations

import os

from accel_launch.ranks.system import calls


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


def edited() -> bool:
    """Return whether a program edits what is typed on the terminal of our standard input, as a prompt does."""
    import termios

    try:
        return not termios.tcgetattr(0)[3] & termios.ICANON
    except termios.error:  # it isn't one
        return False


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
