"""Whether an exception that was printed can have been handled: by where its traceback begins, and the source there.

A traceback begins in the frame that caught the exception. That of one that nothing caught begins in the script, in a
line that no ``try`` protects; that of a handled one begins in the body of the ``try``.
"""

from __future__ import annotations

import ast
import builtins
import itertools
import os
import re

from accel_config.settings.readers import natural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_launch.running.report.evidence.blocks import Block
    from accel_launch.running.report.evidence.lines import Line

UNCAUGHT, UNKNOWN, HANDLED = "uncaught", "unknown", "handled"
MODULE = "_run_module_as_main"
BLOCKS = (ast.Try, ast.TryStar, ast.With, ast.AsyncWith)
EVERY = ("Exception", "BaseException")
NO_ERRORS = ("KeyboardInterrupt", "SystemExit", "GeneratorExit")
COMPLAINT = re.compile(r".*\b(?:WARN|WARNING|ERROR|CRITICAL|FATAL)\b")
"""What `logging` prints right above the traceback of an exception that it is given."""


def fate(block: Block, lines: list[Line], words: Sequence[str], began: float) -> str:
    """Return whether nothing caught the exception of a traceback of a rank with this command line.

    Torch marks what its hook prints, and its hook is called only for an exception that nothing caught. A child of the
    rank prints tracebacks as well, which begin in another script.
    """
    if block.marked:
        return UNCAUGHT
    if not block.outermost or not block.frames:
        return HANDLED
    source = handling(block, began)
    above = lines[block.start - 1].text if block.start else ""
    if source == HANDLED or COMPLAINT.match(above):
        return HANDLED
    return source if _of_rank(block, words) else UNKNOWN


def _of_rank(block: Block, words: Sequence[str]) -> bool:
    """Return whether a traceback begins in the script or module of a command line."""
    first, function = block.frames[0]
    if function != MODULE:
        return os.path.basename(first.rpartition(":")[0]) in map(os.path.basename, words)
    script = next((place for place, function in block.frames if function == "<module>"), "").rpartition(":")[0]
    name = os.path.basename(script).removesuffix(".py")
    if name == "__main__":
        name = os.path.basename(os.path.dirname(script))
    return bool(name) and any(
        word == "-m" and after.rpartition(".")[2] == name for word, after in itertools.pairwise(words)
    )


def handling(block: Block, began: float) -> str:
    """Return whether the source says that the line in which a traceback begins handles the exception.

    A source that was changed after the rank ``began`` says nothing; nor does a ``with``, which may handle anything.
    """
    if not block.frames:
        return UNKNOWN
    place, function = block.frames[0]
    if function == MODULE:
        return UNCAUGHT  # what the module catches begins in the module
    path, _colon, digits = place.rpartition(":")
    line = natural(digits)
    if line is None:  # no line of Python's own has so many digits
        return UNKNOWN
    try:
        with open(path, "rb") as file:
            if began and os.fstat(file.fileno()).st_mtime > began:
                return UNKNOWN
            tree = ast.parse(file.read())
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return UNKNOWN
    kind = block.message[0].partition(":")[0]
    around = [node for node in ast.walk(tree) if isinstance(node, BLOCKS) and _holds(node.body, line)]
    fates = {_of(node, kind) for node in around}
    return next((fate for fate in (HANDLED, UNKNOWN) if fate in fates), UNCAUGHT)


def _holds(body: list[ast.stmt], line: int) -> bool:
    return body[0].lineno <= line <= (body[-1].end_lineno or 0)


def _of(node: ast.AST, kind: str) -> str:
    """Return what a statement does with an exception of this type in its body."""
    if isinstance(node, ast.Try):
        for handler in node.handlers:
            catches = _catches(handler.type, kind)
            again = any(isinstance(inside, ast.Raise) for inside in ast.walk(handler))
            if catches or catches is None:
                return HANDLED if catches and not again else UNKNOWN
        return UNCAUGHT
    return UNCAUGHT if isinstance(node, ast.TryStar) and not node.handlers else UNKNOWN


def _catches(types: ast.expr | None, kind: str) -> bool | None:
    """Return whether a handler of these types catches an exception of this one; None if that isn't known."""
    if isinstance(types, ast.Tuple):
        answers = [_catches(one, kind) for one in types.elts]
        return True if True in answers else None if None in answers else False
    name = "" if types is None else ast.unparse(types)
    if types is None or name == kind or name == EVERY[1]:
        return True
    if name in NO_ERRORS or kind in NO_ERRORS:
        return False if kind not in NO_ERRORS or name in NO_ERRORS or name == EVERY[0] else None
    if name == EVERY[0]:
        return True
    theirs, its = getattr(builtins, name, None), getattr(builtins, kind, None)
    return issubclass(its, theirs) if isinstance(theirs, type) and isinstance(its, type) else None
