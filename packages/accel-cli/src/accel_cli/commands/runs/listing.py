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
    return "".join(f"{line.rstrip()[:columns]}\n" for line in lines)
