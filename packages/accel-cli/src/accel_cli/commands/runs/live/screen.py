"""What the terminal shows, drawn by rich: a screen is a list of lines."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table
from rich.text import Text

from accel_cli.commands.runs.live import sheet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from accel_cli.commands.runs.live.sheet import Sheet

STYLES = {sheet.GOOD: "green", sheet.ODD: "yellow", sheet.BAD: "bold red"}
RIGHT = frozenset(("RANK", "CPU", "MEMORY", "DEVICE", "USE", "OUTPUT"))
HELP = (
    ("up, down, 0-9", "choose a rank"),
    ("f", "what the rank prints, as it comes; up, down: older lines; left, right: another rank"),
    ("s", "the stacks of all ranks; again: as they are then"),
    ("x", "stop the run; it asks first"),
    ("Esc", "back to the ranks"),
    ("q, Ctrl-C", "leave; the run goes on"),
    ("Ctrl-Z", "leave for a while; fg returns"),
)


class Pen:
    """Draws for a terminal of some size."""

    def __init__(self, columns: int, lines: int, *, color: bool = True) -> None:
        """Take its size; one column stays empty: not every terminal agrees on when a full line ends."""
        self.columns, self.lines, self.color = max(columns - 1, 1), lines, color

    def draw(self, thing: RenderableType, *, wrap: bool = False) -> list[str]:
        """Return the lines of something; ``wrap`` makes several of a text that is too long for one."""
        file = io.StringIO()
        console = Console(
            file=file,
            width=self.columns,
            height=self.lines,
            force_terminal=True,
            color_system="standard" if self.color else None,
            no_color=not self.color,
            legacy_windows=False,
            markup=False,
            emoji=False,
            highlight=False,
            _environ={},
        )
        console.print(thing, no_wrap=not wrap, overflow="fold" if wrap else "ellipsis")
        return file.getvalue().removesuffix("\n").split("\n")

    def head(self, found: Sheet) -> list[str]:
        """Return the lines about the run."""
        first = Text().append(found.name, "bold").append("  ").append(found.state, STYLES.get(found.mood, ""))
        first.append("".join(f"  {fact}" for fact in found.facts))
        second = Text(found.note or found.command, "yellow" if found.note else "dim")
        return [*self.draw(first), *self.draw(second), ""]

    def fitting(self, found: Sheet, chosen: int, room: int) -> range:
        """Return the places of the ranks whose rows fit below the head; the chosen one is always among them."""
        most = max(room - 1, 1)
        first = max(0, min(chosen - most // 2, len(found.rows) - most))
        return range(len(found.rows))[first : first + most]

    def ranks(self, found: Sheet, chosen: int, room: int) -> list[str]:
        """Return the table of the ranks, as far as it fits."""
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", expand=True)
        for name in found.columns:
            last = name == found.columns[-1]
            table.add_column(
                name, justify="right" if name in RIGHT else "left", no_wrap=True, ratio=1 if last else None
            )
        for place in self.fitting(found, chosen, room):
            row = found.rows[place]
            cells = [Text(cell, no_wrap=True, overflow="ellipsis") for cell in row.cells]
            cells[1].stylize(STYLES.get(row.mood, ""))
            table.add_row(*cells, style="reverse" if place == chosen else "")
        return self.draw(table)[:room] if found.columns else ["no rank has been started yet"]

    def text(self, lines: Sequence[str], room: int, back: int) -> tuple[list[str], int]:
        """Return the last lines of a text that fit, ``back`` lines earlier, and how far back that is."""
        drawn = self.draw(Text("\n".join(lines[-(room + back) :])), wrap=True) if lines else []
        back = max(0, min(back, len(drawn) - room))
        end = len(drawn) - back
        return drawn[max(0, end - room) : end], back

    def help(self) -> list[str]:
        """Return what the keys do."""
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
        for keys, meaning in HELP:
            table.add_row(Text(keys, "bold"), Text(meaning))
        return self.draw(table, wrap=True)

    def screen(self, head: Sequence[str], body: Sequence[str], foot: Text) -> str:
        """Return a whole screen: the foot is its last line."""
        room = max(self.lines - len(head) - 1, 0)
        filled = [*head, *body[:room], *[""] * (room - len(body)), *self.draw(foot)[:1]][-self.lines :]
        return "\x1b[H" + "\r\n".join(f"\x1b[2K{line}" for line in filled)
