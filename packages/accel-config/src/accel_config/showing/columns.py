"""Text laid out in columns: lines of whole words, a text beside its head, tables as wide as the terminal.

`textwrap` isn't used, since its regular expressions cost the start-up more than all of this.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

HEAD = 28
"""Columns of a head, where the text beside it has at least as much room again."""
INDENT = 6
"""Columns before a text that stands below its head."""
GAP = "  "
ELLIPSIS = "…"


def wrap(text: str, width: int) -> list[str]:
    """Return the words of ``text`` in lines of at most ``width`` columns; a longer word has a line of its own."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def paragraph(text: str, width: int) -> str:
    """Return ``text`` as a paragraph of whole words."""
    return "\n".join(wrap(text, width))


def entry(head: str, text: str, width: int, column: int = HEAD) -> str:
    """Return ``text`` from ``column`` on beside ``head``; below it where the head is long or the terminal narrow."""
    indent = column if width >= 2 * column + INDENT else INDENT
    heads = wrap(head, width - len(GAP))
    lines = wrap(text, width - indent)
    first = GAP + f"\n{' ' * INDENT}".join(heads)
    if len(heads) == 1 and len(first) + len(GAP) <= indent and lines:
        first = f"{first:<{indent}}{lines.pop(0)}"
    return "\n".join([first, *(" " * indent + line for line in lines)])


def table(rows: Sequence[tuple[str, str, str]], width: int | None) -> str:
    """Return rows of three cells below each other, shortened in the middle to ``width``; None: never shortened."""
    if not rows:
        return ""
    first, second, third = (max(len(row[column]) for row in rows) for column in range(3))
    if width is None:
        second = min(second, 40)  # one long value doesn't push all the origins away
        return "".join(f"{a:<{first}}{GAP}{b:<{second}}{GAP}{c}\n" for a, b, c in rows)
    first = min(first, width // 2)
    room = width - first - 2 * len(GAP)
    second = min(second, max(room - third, room // 2))
    third = room - second
    cells = ((shortened(a, first), shortened(b, second), shortened(c, third)) for a, b, c in rows)
    return "".join(f"{a:<{first}}{GAP}{b:<{second}}{GAP}{c}".rstrip() + "\n" for a, b, c in cells)


def shortened(text: str, width: int) -> str:
    """Return ``text`` in at most ``width`` columns, with an ellipsis in its middle where it is longer."""
    if len(text) <= width:
        return text
    kept = max(0, width - len(ELLIPSIS))
    return text[: kept - kept // 2] + ELLIPSIS + text[len(text) - kept // 2 :]
