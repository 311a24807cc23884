"""Standard output: in its own encoding, at the width of its terminal, through a pager if the text is long.

Errors of the stream itself are for the command's front (`accel_config.front.run`).
"""

from __future__ import annotations

import os
import sys

from accel_config.showing.printable import one_line, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

WIDTH = 80
"""Columns where standard output is no terminal and ``COLUMNS`` isn't set."""
TOO_MANY_DIGITS = 10
NARROWEST, WIDEST = 40, 120
"""Text is never laid out for less, nor for more: longer lines are hard to read."""


def show(text: str) -> None:
    """Write ``text`` for people to standard output; whatever moves the cursor is shown as an escape.

    Raises:
        OSError: it can't be written, or its reader went away.
    """
    pass_on(printable(text))


def answer(text: str) -> None:
    """Write one value on a line: as it is for a program, with escapes for a terminal.

    Raises:
        OSError: it can't be written, or its reader went away.
    """
    pass_on(f"{one_line(text) if is_terminal() else text}\n")


def data(text: str) -> None:
    """Write ``text`` for programs to standard output: as it is for a program, with escapes for a terminal.

    Raises:
        OSError: it can't be written, or its reader went away.
    """
    pass_on(printable(text) if is_terminal() else text)


def pass_on(text: str) -> None:
    """Write what isn't ours, such as output of ranks, to standard output as it is, unless that is closed.

    Raises:
        OSError: it can't be written, or its reader went away.
    """
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]
        return
    raw = getattr(sys.stdout, "buffer", None)
    if raw is None:  # a stream put in its place
        sys.stdout.write(_encodable(text))
        sys.stdout.flush()
        return
    sys.stdout.flush()
    rest = memoryview(_encodable(text).encode(sys.stdout.encoding or "utf-8", "surrogateescape"))
    while rest:  # with PYTHONUNBUFFERED a signal cuts off what a slow reader hasn't taken
        written = raw.write(rest)
        if written is None:
            import errno

            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        rest = rest[written:]
    raw.flush()


def _encodable(text: str) -> str:
    """Return ``text`` with escapes for the letters that the terminal's encoding lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding, "surrogateescape")
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()  # pyright: ignore[reportUnnecessaryComparison]


def width(environ: Mapping[str, str]) -> int:
    """Return how many columns text may take: those of ``COLUMNS``, else the terminal's, within bounds."""
    columns = environ.get("COLUMNS", "")
    found = int(columns) if columns.isdecimal() and len(columns) < TOO_MANY_DIGITS else 0
    if not found and is_terminal():
        found = _size().columns
    return max(NARROWEST, min(found or WIDTH, WIDEST))


def page(text: str, environ: Mapping[str, str]) -> None:
    """Show ``text``, through a pager if standard output is a terminal and has fewer lines.

    Raises:
        OSError: it can't be written, or its reader went away.
    """
    command = _pager(environ) if is_terminal() and text.count("\n") >= (_size().lines or sys.maxsize) else ""
    if command:
        from accel_config.system import calls

        sys.stdout.flush()
        if calls.paged(_encodable(printable(text)), command, sys.stdout.encoding):
            return
    show(text)


def _size() -> os.terminal_size:
    try:
        return os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):  # a stream that only claims to be a terminal
        return os.terminal_size((0, 0))


def _pager(environ: Mapping[str, str]) -> str:
    """Return the command of the user's pager, else of `less`; empty without a pager or on a dumb terminal."""
    if environ.get("TERM") in (None, "", "dumb"):
        return ""
    if "PAGER" in environ:
        return environ["PAGER"].strip()
    found = any(os.access(os.path.join(folder, "less"), os.X_OK) for folder in os.get_exec_path(environ))
    return "less -FRX" if found else ""  # exits if one screen is enough, keeps colors, leaves the text
