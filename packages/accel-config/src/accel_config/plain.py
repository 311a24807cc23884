"""The plain files that `accelerate config` writes, read without PyYAML.

Importing PyYAML takes as long as three to five bare interpreters take to start, and a launch with a config file has
seven in all. Nearly every config file is lines of ``key: value``, nested once; those are read here, and anything
else, down to a stray blank or quote, is left to PyYAML. A property test holds that the two agree wherever this one
answers.
"""

from __future__ import annotations

from .document import Node

NULLS = frozenset(("", "~", "null", "Null", "NULL"))
# Characters that mean the same anywhere in a plain scalar; "-" and "." are checked for where they stand.
SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/+.-")


def read(text: str) -> Node | None:
    """Return the mapping that ``text`` holds, or None where that is for PyYAML to say."""
    text = text.replace("\r\n", "\n")
    if not text.isascii() or not text.replace("\n", "").isprintable():
        return None
    root: list[tuple[Node, Node]] = []
    inner: list[tuple[Node, Node]] | None = None  # of the last key without a value
    indent = 0
    for number, whole in enumerate(text.split("\n"), start=1):
        line = whole.lstrip(" ")
        if not line or line.startswith("#"):
            continue
        pair = _pair(line, number)
        if pair is None:
            return None
        depth = len(whole) - len(line)
        if depth == 0:
            root.append(pair)
            inner, indent = None, 0
        elif pair[1].value is None and line.endswith(":"):
            return None
        else:
            if inner is None:
                if not root or root[-1][1].value is not None or not _bare(root[-1], text):
                    return None
                inner, indent = [], depth
                root[-1] = (root[-1][0], Node(inner, number, mapping=True))
            if depth != indent:
                return None
            inner.append(pair)
    return Node(root, 1, mapping=True) if root else None


def _bare(pair: tuple[Node, Node], text: str) -> bool:
    """Whether the key stands alone on its line, so that what follows is its mapping."""
    return text.split("\n")[pair[0].line - 1].endswith(":")


def _pair(line: str, number: int) -> tuple[Node, Node] | None:
    key, colon, rest = line.partition(":")
    if not colon or (rest and not rest.startswith(" ")) or not key.replace("-", "_").isidentifier():
        return None
    if key in NULLS or key[0] == "-":
        return None
    value = _scalar(rest[1:])
    if value is None:
        return None
    return Node(key, number), Node([] if value == "[]" else None if value in NULLS else value.strip("'\""), number)


def _scalar(text: str) -> str | None:
    """Return the scalar with its quotes, or None where it isn't plain enough to be sure."""
    if text in NULLS or text == "[]":
        return text
    quote = text[0]
    if quote in "'\"":
        inside = text[1:-1]
        simple = len(text) > 2 and text[-1] == quote and SAFE.issuperset(inside)  # noqa: PLR2004
        return text if simple and inside not in NULLS else None
    if not SAFE.issuperset(text) or text[0] in "-." or text.startswith("---"):
        return None
    return text
