"""The frontier of a page: the largest batch by length in each strategy, drawn and as a table."""

from __future__ import annotations

from html import escape
from math import log2

from accel_estimate.showing import drawing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from accel_estimate.answer.frontier import Line
    from accel_estimate.showing.drawing import Size

_TOP, _HEIGHT, _BELOW = 20, 300, 44
_MOST_TICKS = 10
_DASHES = ("", "7 3", "2 3", "9 3 2 3")


def render(lines: Sequence[Line]) -> str:
    """Return the drawing, its legend and its table; a sentence, if nothing fits."""
    if not any(batch for line in lines for _, batch in line.points):
        return "<p>Not one sequence fits in any strategy, however short.</p>"
    return "\n".join(
        (
            drawing.legend([escape(line.name) for line in lines]),
            drawing.both(lambda size: _chart(lines, size), "Largest batch by length, in each strategy"),
            _table(lines),
        )
    )


def _chart(lines: Sequence[Line], size: Size) -> tuple[int, str]:
    lengths = [length for length, _ in lines[0].points]
    top = max(2, *(batch for line in lines for _, batch in line.points))
    first, wide, high = log2(lengths[0]), log2(lengths[-1] / lengths[0]) or 1.0, log2(top)

    def x(length: int) -> float:
        return size.left + (log2(length) - first) / wide * size.inside

    def y(batch: int) -> float:
        return _TOP + _HEIGHT * (1 - log2(batch) / high)

    body = [_grid(lengths, int(high), x, y, size)]
    for index, line in enumerate(lines):
        points = [(x(length), y(batch), length, batch) for length, batch in line.points if batch]
        if not points:
            continue
        dash = _DASHES[index % len(_DASHES)]
        path = " ".join(f"{across:.1f},{down:.1f}" for across, down, _, _ in points)
        body.append(
            f'<polyline class="front" stroke="{drawing.color(index)}" stroke-dasharray="{dash}" points="{path}"/>'
        )
        body += [
            f'<circle cx="{across:.1f}" cy="{down:.1f}" r="4" fill="{drawing.color(index)}">'
            f"<title>{escape(line.name)}: batch {batch:,} of {length:,} tokens</title></circle>"
            for across, down, length, batch in points
        ]
    return _TOP + _HEIGHT + _BELOW, "".join(body)


def _grid(lengths: list[int], powers: int, x: Callable[[int], float], y: Callable[[int], float], size: Size) -> str:
    left, right, bottom = size.left, size.width - size.right, _TOP + _HEIGHT
    pieces: list[str] = []
    for power in range(0, powers + 1, powers // _MOST_TICKS + 1):
        at = y(2**power)
        pieces.append(
            f'<line class="grid" x1="{left}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}"/>'
            f'<text class="soft" x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{2**power:,}</text>'
        )
    every = 1 if size.width > len(lengths) * 60 else 2
    for length in lengths[::-every]:
        at = x(length)
        pieces.append(
            f'<line class="grid" x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{bottom}"/>'
            f'<text class="soft" x="{at:.1f}" y="{bottom + 18}" text-anchor="middle">{short(length)}</text>'
        )
    pieces.append(
        f'<text class="soft" x="{(left + right) / 2:.1f}" y="{bottom + 38}" text-anchor="middle">'
        "tokens in a sequence; up: sequences</text>"
    )
    return "".join(pieces)


def short(length: int) -> str:
    """Return a length as people write it: 8k for 8,192."""
    return f"{length // 1024}k" if length % 1024 == 0 else f"{length:,}"


def _table(lines: Sequence[Line]) -> str:
    heads = ["largest batch", *(short(length) for length, _ in lines[0].points)]
    body = [
        [(escape(line.name), ""), *((f"{batch:,}", "") if batch else ("no", "no") for _, batch in line.points)]
        for line in lines
    ]
    return drawing.rows(heads, body)
