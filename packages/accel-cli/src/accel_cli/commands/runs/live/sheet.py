"""What `top` shows of a run now, as text: the same in the terminal and on the page."""

from __future__ import annotations

import re

from accel_cli.commands.runs import listing
from accel_config.record import Record
from accel_config.showing.printable import one_line
from accel_launch.machine.clock import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

HEAD = ("RANK", "STATE", "CPU", "MEMORY", "DEVICE", "USE", "OUTPUT", "LAST LINE")
GOOD, ODD, BAD = "good", "odd", "bad"
MOODS = {
    "running": GOOD,
    "stalled": ODD,
    "stopped": ODD,
    "debugged": ODD,
    "still": ODD,
    "pacing": ODD,
    "looping": ODD,
    "ending": ODD,
}
"""Of states, what the reader is to make of them; of others nothing."""
COLORS = re.compile(r"\x1b\[[0-9;:]*m")
UNITS = ("B", "kB", "MB", "GB", "TB")
STEP = 1000
MEGABYTE = 1 << 20


class Row(Record):
    """A rank."""

    rank: int
    cells: tuple[str, ...]
    mood: str = ""


class Sheet(Record):
    """A run and its ranks."""

    name: str
    state: str
    mood: str = ""
    facts: tuple[str, ...] = ()
    """Its age, its attempts and so on."""
    command: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    note: str = ""
    """Why it isn't up to date, or what it waits for."""
    ended: str = ""
    """How the run has ended; empty while it goes on."""

    def as_json(self) -> dict[str, Any]:
        """Return it for the page."""
        return {**dict(self), "rows": [dict(row) for row in self.rows]}


def plain(line: str) -> str:
    """Return a line that a rank has printed without colors, and with escapes for all else that moves the cursor."""
    return one_line(COLORS.sub("", line).expandtabs())


def facts(answer: Mapping[str, Any], age: float, machine: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the facts about a run that stand at the top."""
    count = answer.get("count") or 0
    where = "" if machine is None else f", machine {machine.get('number', 0)} of {machine.get('of', 1)}"
    return (
        f"age {duration(age)}",
        f"{count} rank{'s' * (count != 1)}{where}",
        f"attempts {answer.get('attempt', 0) + 1}",
        f"stalls {answer.get('stalls', 0)}",
    )


def rows(figures: Sequence[Mapping[str, Any]], rates: Mapping[int, tuple[float, float]]) -> tuple[Any, Any]:
    """Return the columns that hold something, and a row for each rank.

    Args:
        figures: What the launcher says of each.
        rates: Of each rank, the cores that it uses, and the bytes that it prints in a second.
    """
    found = sorted(figures, key=lambda one: one["rank"])
    columns, *cells = listing.filled([HEAD, *(_cells(one, rates.get(one["rank"])) for one in found)])
    return columns, tuple(Row(one["rank"], row, _mood(one)) for one, row in zip(found, cells, strict=True))


def _cells(one: Mapping[str, Any], rates: tuple[float, float] | None) -> tuple[str, ...]:
    running = one["state"] != "ended"
    return (
        str(one["rank"]),
        one["state"] if running else _ending(one["ended"] or "ended"),
        f"{rates[0]:.2f}" if rates is not None and running else "",
        _memory(one["memory"]),
        _memory(one.get("device_memory")),
        "" if (use := one.get("device_use")) is None else f"{use:.0f} %",
        f"{size(rates[1])}/s" if rates is not None and running else "",
        plain(one["line"]),
    )


def _ending(how: str) -> str:
    return one_line(how).replace("exit status", "exit").replace("terminated by ", "")


def _mood(one: Mapping[str, Any]) -> str:
    if one["state"] == "ended":
        return BAD if (one["ended"] or "").rpartition(" ")[2] not in ("0", "") else ""
    return MOODS.get(one["state"], "")


def _memory(number: int | None) -> str:
    return "" if number is None else f"{number / MEGABYTE:.0f} MB"


def size(number: float) -> str:
    """Return a number of bytes, such as ``1.2 kB``."""
    place = 0
    while number >= STEP and place < len(UNITS) - 1:
        number, place = number / STEP, place + 1
    return f"{number:.1f} {UNITS[place]}" if place and number < 10 else f"{number:.0f} {UNITS[place]}"  # noqa: PLR2004
