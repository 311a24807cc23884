"""A rank's output as lines of plain text: without colors, cursor movements, marks and control characters."""

from __future__ import annotations

import re

from accel_config.record import Record

ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # colors and movements
    r"|[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"  # titles, links and other texts for the terminal
    r"|[ -/]*[0-~])"
)
MARK = re.compile(r"(?:\[[A-Za-z_]\w*\d\]: ?)+")
"""What torch puts before each line of an exception that nothing caught (``[rank0]: ``), and torchrun before all."""

TORCHS = re.compile(r"\[rank\d+\]: ?")
"""Torch's own mark, among them."""
NOISE = re.compile(
    r"\s*$"
    r"|\[?[IWEF]\d{4} "  # glog, as in C++ of torch and absl
    r"|.*Warning: |.*\bwarnings\.warn\("
    r"|.*\d%\|"  # a progress bar
    r"|wandb: |COMET |Set the environment variable HYDRA_FULL_ERROR"
)
"""What libraries print while Python ends, after the exception that ended the script."""
INCIDENTAL = re.compile(
    r"Exception in thread |Exception ignored |Error in atexit|Process [\w-]+:$|--- Logging error ---$"
    r"|Task exception was never retrieved|Exception in callback |Unhandled exception in |(?:future|handle|task): <"
)
"""What stands before the traceback of an exception that ends no script: one of a thread, a child or a destructor."""
LOGGED = re.compile(
    r"\W*(?:\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d|(?:TRACE|DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL|FATAL)\b)|.*\b(?:it/s|s/it)\b"
)
"""How lines of logs begin, which no message of an exception does."""


class Line(Record):
    """One line of plain text."""

    text: str
    marked: bool
    """Whether it had torch's mark."""


def plain(text: str) -> list[Line]:
    """Return the lines of what a rank wrote."""
    text = ESCAPE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return [_line(raw) for raw in text.split("\n")]


def _line(raw: str) -> Line:
    mark = MARK.match(raw)
    return Line(blanked(raw[mark.end() :] if mark else raw), mark is not None and TORCHS.search(mark[0]) is not None)


def blanked(text: str) -> str:
    """Return a line with spaces for control characters, so that it is compared and matched by what it shows."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else " " for letter in text.expandtabs(4))


def is_noise(line: str) -> bool:
    """Return whether a line may follow the exception that ended the script."""
    return bool(NOISE.match(line) or INCIDENTAL.match(line))


def last_of(lines: list[Line]) -> str:
    """Return the last line that isn't mere noise."""
    return next((line.text.strip() for line in reversed(lines) if not is_noise(line.text)), "")
