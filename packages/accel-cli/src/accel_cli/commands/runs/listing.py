"""Tables of plain text."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Row = tuple[str, ...]


def filled(rows: Sequence[Row]) -> list[Row]:
    """Return the rows without the columns that are empty below the first row."""
    kept = [place for place in range(len(rows[0])) if any(row[place] for row in rows[1:])]
    return [tuple(row[place] for place in kept) for row in rows]


def table(rows: Sequence[Row], columns: int | None) -> str:
    """Return a table, whose first row is its head; only the last column is shortened, for a terminal."""
    rows = filled(rows)
    wide = [max(map(len, column)) for column in zip(*(row[:-1] for row in rows), strict=True)]
    lines = (
        "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, wide, strict=False)), row[-1]]) for row in rows
    )
    return "".join(f"{cut(line.rstrip(), columns)}\n" for line in lines)


def cut(line: str, columns: int | None) -> str:
    """Return what fits into so many columns of a terminal; a letter may take two."""
    if columns is None or line.isascii():
        return line[:columns]
    from itertools import accumulate
    from unicodedata import combining, east_asian_width

    wide = (2 if east_asian_width(letter) in "WF" else not combining(letter) for letter in line)
    return line[: sum(place <= columns for place in accumulate(wide))]
