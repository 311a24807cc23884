"""What charts share: colors, steps of an axis, and a drawing for wide screens and one for phones."""

from __future__ import annotations

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Colors that color-blind people can tell apart (Okabe and Ito, 2008).
_COLORS = ("#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7", "#8c8c8c", "#b8a200", "#7f3c8d")
_MOST_LINES = 9


class Size(Record):
    """A drawing's width and its margins, in units of which text is 13 high."""

    width: int
    left: int
    right: int

    @property
    def inside(self) -> int:
        """The width between the margins."""
        return self.width - self.left - self.right


WIDE, NARROW = Size(960, 110, 120), Size(360, 66, 76)
"""On a phone a drawing is as wide as the screen, and its text must be as high as on a wide one."""


def both(draw: Callable[[Size], tuple[int, str]], label: str) -> str:
    """Return a drawing twice: for wide screens, and for phones; the page's style shows one of them."""
    found: list[str] = []
    for kind, size in (("for-wide", WIDE), ("for-phones", NARROW)):
        height, body = draw(size)
        found.append(
            f'<svg class="{kind}" viewBox="0 0 {size.width} {height}" role="img" aria-label="{label}">{body}</svg>'
        )
    return "\n".join(found)


def color(index: int) -> str:
    """Return the color of a component or a line."""
    return _COLORS[index % len(_COLORS)]


def step(most: float, lines: int = _MOST_LINES) -> float:
    """Return the distance between an axis's lines: 1, 2 or 5 times a power of ten, for at most so many lines."""
    power: float = 0.001
    while True:
        for factor in (1, 2, 5):
            if most / (power * factor) <= lines:
                return power * factor
        power *= 10


def legend(names: list[str]) -> str:
    """Return a list of names, which are safe text, with their colors."""
    items = (f'<li><span style="background:{color(index)}"></span>{name}</li>' for index, name in enumerate(names))
    return f'<ul class="legend">{"".join(items)}</ul>'


def rows(heads: list[str], body: list[list[tuple[str, str]]]) -> str:
    """Return a table that scrolls by itself on a phone; a cell is its safe text and its class."""
    listed = ["".join(f"<th>{head}</th>" for head in heads)]
    listed += ["".join(f"<td{_classed(kind)}>{text}</td>" for text, kind in row) for row in body]
    return f'<div class="wide"><table>{"".join(f"<tr>{row}</tr>" for row in listed)}</table></div>'


def _classed(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
