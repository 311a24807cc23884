"""Whether the first line of an exception is its whole message, so that what follows is of a later moment.

An exit handler may print lines right after the traceback, and a text alone doesn't tell them from the rest of the
message. The source does where it raises literal text, and Python where it raises by itself; unless there are notes.
"""

from __future__ import annotations

import ast
import builtins

from accel_launch.running.report.evidence.blocks import FRAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.report.evidence.blocks import Block
    from accel_launch.running.report.evidence.lines import Line

OF_ONE_LINE = frozenset(
    (
        *("AttributeError", "FileNotFoundError", "KeyError", "ModuleNotFoundError", "NameError", "PermissionError"),
        *("UnboundLocalError", "ZeroDivisionError"),
    )
)
"""Types whose messages have one line where Python raises them."""
LARGEST = 1 << 20  # bytes of a source
NOTES = b"add_note"


def is_whole(block: Block, lines: list[Line]) -> bool:
    """Return whether the first line of a traceback's exception is its whole message."""
    last = max((at for at in range(block.start, block.end) if FRAME.match(lines[at].text)), default=-1)
    if last < 0 or last + 1 >= block.end or not lines[last + 1].text.startswith("    "):
        return False
    kind, _colon, said = block.message[0].partition(": ")
    if not said or not hasattr(builtins, kind):  # other types can say more than they were made with
        return False
    try:
        (raising,) = ast.parse(lines[last + 1].text.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    whole = _literal(raising.exc) == said if isinstance(raising, ast.Raise) else kind in OF_ONE_LINE
    return whole and not _has_notes(block)


def _literal(raised: ast.expr | None) -> object:
    """Return the one text with which an exception is made."""
    words = raised.args if isinstance(raised, ast.Call) and not raised.keywords else []
    return words[0].value if len(words) == 1 and isinstance(words[0], ast.Constant) else None


def _has_notes(block: Block) -> bool:
    """Return whether one of the sources may add notes, which are printed after the message."""
    for path in {place.rpartition(":")[0] for place, _function in block.frames}:
        try:
            with open(path, "rb") as file:
                if NOTES in file.read(LARGEST):
                    return True
        except (OSError, ValueError):
            continue
    return False
