"""The table, the file of results, and a second run beside a first."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.gpu_checks.check import BROKEN, NO, Row

if TYPE_CHECKING:
    from pathlib import Path

SAME = ("card", "cards", "driver", "torch", "python", "rehearsed")
"""Surroundings that runs share whose rows are put together."""
FAR = 0.1
"""By how much a number has to change to be shown in a comparison."""


def cell(text: str) -> str:
    """Return a text that is safe within a table of Markdown."""
    return " ".join(text.split()).replace("|", "/")[:300]


def line(found: Row) -> str:
    """Return a row of the table."""
    return f"| {cell(found.claim)} | {cell(found.expected)} | {cell(found.seen)} | {found.holds} |"


HEAD = "| claim | expected | seen | holds |\n| --- | --- | --- | --- |"


def table(rows: list[Row]) -> str:
    """Return all rows as a table of Markdown."""
    return "\n".join([HEAD, *map(line, rows)]) + "\n"


def counted(rows: list[Row]) -> str:
    """Return how many claims hold, in words."""
    counts = Counter(row.holds for row in rows)
    return f"{len(rows)} claims: {', '.join(f'{number} {what}' for what, number in counts.most_common())}"


def status(rows: list[Row]) -> int:
    """Return the exit status: 1 if a claim doesn't hold or a check is broken."""
    return int(any(row.holds in (NO, BROKEN) for row in rows))


def save(file: Path, surroundings: dict[str, Any], rows: dict[str, list[Row]]) -> None:
    """Write the results as JSON."""
    found = [{"check": name, **asdict(row)} for name, each in rows.items() for row in each]
    new = file.with_suffix(".new")  # a machine may be taken away at any moment
    new.write_text(json.dumps({**surroundings, "rows": found}, indent=1) + "\n")
    new.replace(file)


def load(file: Path) -> tuple[dict[str, Any], dict[str, list[Row]]]:
    """Return the surroundings and the rows of a file of results, by their check."""
    rows: dict[str, list[Row]] = {}
    try:
        found: dict[str, Any] = json.loads(file.read_text())
        for each in found.pop("rows"):
            rows.setdefault(each.pop("check"), []).append(Row(**each))
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"gpu_check: {file} isn't a file of results: {error}")
    return found, rows


def earlier(file: Path, surroundings: dict[str, Any]) -> dict[str, list[Row]]:
    """Return the rows that a run here before has written there, so that another one adds to them.

    A file of other surroundings is renamed.
    """
    if not file.exists():
        return {}
    found, rows = load(file)
    if all(found.get(name) == surroundings[name] for name in SAME):
        return rows
    file.rename(file.with_name(f"results-{file.stat().st_mtime:.0f}.json"))
    return {}


def flat(rows: dict[str, list[Row]]) -> list[Row]:
    """Return the rows of all checks."""
    return [row for each in rows.values() for row in each]


def compared(first: dict[str, list[Row]], now: dict[str, list[Row]]) -> str:
    """Return what differs between two runs: claims that hold no more or again, and numbers that are far apart.

    Checks that haven't run now aren't compared.
    """
    before = {row.claim: row for name in now for row in first.get(name, ())}
    lines: list[str] = []
    for row in flat(now):
        old = before.pop(row.claim, None)
        if old is None:
            lines.append(f"| {cell(row.claim)} | - | {row.holds}: {cell(row.seen)} |")
        elif old.holds != row.holds:
            lines.append(f"| {cell(row.claim)} | {old.holds}: {cell(old.seen)} | {row.holds}: {cell(row.seen)} |")
        elif old.number and row.number is not None and abs(change := row.number / old.number - 1) > FAR:
            numbers = f"{old.number:.3g} {old.unit} | {row.number:.3g} {row.unit} ({change:+.0%})"
            lines.append(f"| {cell(row.claim)} | {numbers} |")
    lines += [f"| {cell(claim)} | {old.holds}: {cell(old.seen)} | - |" for claim, old in before.items()]
    head = "| claim | first | now |\n| --- | --- | --- |"
    return "\n".join([head, *lines, ""]) if lines else "The two runs agree.\n"


def heading(surroundings: dict[str, Any]) -> str:
    """Return card, driver, versions and date in a line."""
    found = surroundings
    parts = [
        found.get("card") or "no card",
        f"driver {found.get('driver') or '-'}",
        f"torch {found.get('torch') or '-'}",
    ]
    return ", ".join(
        [*parts, f"Python {found.get('python')}", found.get("date", ""), *["rehearsed"] * found["rehearsed"]]
    )
