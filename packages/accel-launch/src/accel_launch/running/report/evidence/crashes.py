"""What is printed by a process that crashes: Python's fault handler, and C++."""

from __future__ import annotations

import re
import signal

from accel_launch.running.report.evidence.blocks import own_place
from accel_launch.running.report.evidence.lines import is_noise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_launch.running.report.evidence.lines import Line

FATAL = "Fatal Python error: "
SIGNALS = {
    "Segmentation fault": signal.SIGSEGV,
    "Bus error": getattr(signal, "SIGBUS", signal.SIGSEGV),  # Windows has one for both
    "Illegal instruction": signal.SIGILL,
    "Floating point exception": signal.SIGFPE,
    "Floating-point exception": signal.SIGFPE,
}
"""The fault handler's words. Every other fatal error of Python aborts."""
FRAME = re.compile(r'  File "([^"]*)", line (\d+) in (.*)$')
AFTER_FATAL = re.compile(
    r"\s|$|(?:Current t|T)hread |Extension modules: |Python runtime state: |<|Current thread's C stack|\.\.\."
)
THROWN = re.compile(
    r"terminate called after throwing an instance of '(.*)'$|terminate called without|terminate called rec"
)
AFTER_THROWN = re.compile(r"\s|$|frame #|Exception raised from |terminate called |C\+\+ |\*\*\* |\(no backtrace")
MOST = 12  # lines of a message


def crash_in(lines: list[Line], number: int) -> tuple[str, str]:
    """Return what a process printed that signal ``number`` terminated, and the place; empty ones if nothing fits."""
    texts = [line.text for line in lines]
    fatal = _last(texts, re.compile(FATAL).match)
    said, where = "", ""
    if fatal >= 0 and SIGNALS.get(texts[fatal][len(FATAL) :], signal.SIGABRT) == number:
        after = texts[fatal + 1 :]
        if all(AFTER_FATAL.match(text) or is_noise(text) for text in after):
            said, where = texts[fatal], _place(after)
            texts = texts[:fatal]  # what C++ says stands before it
    if number == signal.SIGABRT:
        said = _thrown(texts) or said
    return said, where


def _last(texts: list[str], wanted: Callable[[str], object]) -> int:
    return next((place for place in range(len(texts) - 1, -1, -1) if wanted(texts[place])), -1)


def _place(after: list[str]) -> str:
    """Return the place of the thread that crashed. The frames begin with the deepest."""
    start = next((place for place, text in enumerate(after) if text.startswith("Current thread 0x")), None)
    if start is None:
        return ""
    frames: list[tuple[str, str]] = []
    for text in after[start + 1 :]:
        frame = FRAME.match(text)
        if frame is None:
            break
        frames.insert(0, (f"{frame[1]}:{frame[2]}", frame[3]))
    return own_place(tuple(frames))


def _thrown(texts: list[str]) -> str:
    """Return the C++ exception that aborted a process, if nothing else was printed after it."""
    at = _last(texts, THROWN.match)
    if at < 0:
        return ""
    after = texts[at + 1 :]
    if sum(not (AFTER_THROWN.match(text) or is_noise(text)) for text in after) > MOST:
        return ""
    thrown = THROWN.match(texts[at])
    what = after[0].partition("what():")[2].strip() if after else ""
    kind = thrown[1] if thrown else None
    return f"{kind}: {what}" if kind and what else kind or texts[at]
