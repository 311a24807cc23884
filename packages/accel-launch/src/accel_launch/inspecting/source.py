"""Lines of the user's own files, which may be where a run hangs: on a file system that doesn't answer.

Which file that is only the run's own code says, so nothing but a file is read, and not without end.
"""

from __future__ import annotations

import io
import os
import stat

SECONDS = 1.0  # that a file may take
BYTES = 1 << 22  # that it may have
LONGEST = 6  # lines of a loop's condition, at most
_read: dict[str, list[str]] = {}
"""The lines of each file; none of those that can't be read, or didn't come in time: they aren't asked for again."""


def line(path: str, number: int) -> str:
    """Return a line of a file; empty if it isn't there, or doesn't come in time."""
    if path not in _read:
        _read[path] = _lines(path)
    return _read[path][number - 1] if 0 < number <= len(_read[path]) else ""


def line_has(path: str, number: int, calls: tuple[str, ...]) -> bool:
    """Return whether a line has one of these calls."""
    text = _code(line(path, number))
    return any(_calls(text, call) for call in calls)


def _calls(text: str, call: str) -> bool:
    """Return whether a call is in a text: one that begins with a name isn't the end of a longer one."""
    before, found, after = text.partition(call)
    longer = call[0].isalpha() and before.rstrip("_")[-1:].isalnum()
    return bool(found) and (not longer or _calls(after, call))


def _code(text: str) -> str:
    """Return a line without its comment, and without what is between quotes in it."""
    found, quote, before = "", "", ""
    for char in text:
        if quote:
            quote = "" if char == quote and before != "\\" else quote
        elif char == "#":
            break
        elif char in "\"'":
            quote = char
        else:
            found += char
        before = char
    return found


def loop(path: str, number: int) -> int:
    """Return the line of the innermost loop around a line; 0 if there is none."""
    text = line(path, number)
    outside = len(text)
    while number:
        indented = len(text) - len(text.lstrip())
        if text.strip() and indented < outside:
            if text.lstrip().startswith("while "):
                return number
            if not text.lstrip().startswith(")"):  # which ends a condition that is written over several lines
                outside = indented
        if not outside:
            break
        number -= 1
        text = line(path, number)
    return 0


def condition(path: str, number: int) -> str:
    """Return what is asked each time by the loop around a line; empty if there is no loop."""
    first = loop(path, number)
    text = _code(line(path, first))
    for more in range(first + 1, first + LONGEST):
        if not first or text.rstrip().endswith(":"):
            break
        text += _code(line(path, more))
    return text + _code(line(path, first + 1)) if "while True:" in text else text


def _lines(path: str) -> list[str]:
    """Read a file in a thread, which stays behind if the file doesn't come; return its lines."""
    from threading import Thread

    found: list[list[str]] = []
    reading = Thread(target=lambda: found.append(_content(path)), daemon=True)
    try:
        reading.start()
    except RuntimeError:  # no thread is left
        return []
    reading.join(SECONDS)
    return found[0] if found else []


def _opened(path: str, flags: int) -> int:
    """Open what may be a FIFO or a terminal: it isn't waited for, and becomes nobody's terminal."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _content(path: str) -> list[str]:
    try:
        if not _readable(os.stat(path)):  # to open a FIFO lets go who waits for a reader; a device may do anything
            return []
        with open(path, encoding="utf-8", errors="replace", opener=_opened) as file:
            facts = os.fstat(file.fileno())  # it may be another one by now
            return io.StringIO(file.read(facts.st_size)).readlines() if _readable(facts) else []
    except (OSError, ValueError):
        return []


def _readable(facts: os.stat_result) -> bool:
    """Return whether it is a file with an end: those of /proc have no size."""
    return stat.S_ISREG(facts.st_mode) and 0 < facts.st_size <= BYTES
