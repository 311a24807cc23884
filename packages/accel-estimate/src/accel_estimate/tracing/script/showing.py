"""What a script takes, for people."""

from __future__ import annotations

from rich.text import Text

from accel_config.showing.wording import line
from accel_estimate.devices.units import spell
from accel_estimate.showing import table
from accel_estimate.showing.wording import verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_estimate.devices.limits import Fit


def show(found: dict[str, Any], fit: Fit | None) -> None:
    """Print tables of the peak, of the steps and of the lines, and notes."""
    console, training = table.console(), found["training"]
    parts = table.grid(f"Training with {line(found['script'])}, traced", "component", "at the peak")
    for name, amount in training["components"].items():
        parts.add_row(name, spell(amount))
    parts.add_section()
    for name in ("low", "expected", "high"):
        parts.add_row(Text(name, style="bold" if name == "expected" else ""), spell(training[f"{name}_bytes"]))
    parts.add_section()
    parts.add_row("allocated", spell(training["allocated_bytes"]))
    parts.add_row("reserved", spell(training["reserved_bytes"]))
    parts.add_row("reserved, expandable segments", spell(training["reserved_expandable_bytes"]))
    console.print(parts)
    moments = table.grid("Peaks of the steps", "moment", "allocated")
    for name, amount in training["moments"].items():
        moments.add_row(name, spell(amount))
    console.print(moments)
    lines = table.grid("At the peak, by the line that allocated it", "line", "for", "allocated")
    for one in found["lines"]:
        lines.add_row(line(one["line"]), one["kind"], spell(one["bytes"]))
    console.print(lines)
    console.print(Text(f"Peak: {training['peak_moment']}: {training['peak_reason']}."))
    for note in found.get("notes", ()):
        console.print(Text(f"Note: {line(note)}", style="dim"))
    if fit is not None:
        console.print(Text(verdict(fit), style="green" if fit.fits else "red"))
