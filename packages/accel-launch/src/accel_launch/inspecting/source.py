"""Lines of the user's own files, which may be where a run hangs: on a file system that doesn't answer."""

from __future__ import annotations

import linecache

SECONDS = 1.0  # that a file may take
LONGEST = 6  # lines of a loop's condition, at most
_silent: set[str] = set()
"""Files that aren't there, or didn't come in time: they aren't asked for again."""


def line(path: str, number: int) -> str:
    """Return a line of a file; empty if it isn't there, or doesn't come in time."""
    if path in _silent:
        return ""
    if path not in linecache.cache and not (_read(path) and path in linecache.cache):
        _silent.add(path)
        return ""
    return linecache.getline(path, number)


def line_has(path: str, number: int, calls: tuple[str, ...]) -> bool:
    """Return whether a line has one of these calls."""
    text = line(path, number)
    return any(call in text for call in calls)


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
    text = line(path, first)
    for more in range(first + 1, first + LONGEST):
        if not first or text.rstrip().endswith(":"):
            break
        text += line(path, more)
    return text + line(path, first + 1) if "while True:" in text else text


def _read(path: str) -> bool:
    """Read a file in a thread, which stays behind if the file doesn't come; return whether it came."""
    from threading import Thread

    reading = Thread(target=linecache.getlines, args=(path,), daemon=True)
    try:
        reading.start()
    except RuntimeError:  # no thread is left
        return False
    reading.join(SECONDS)
    return not reading.is_alive()
