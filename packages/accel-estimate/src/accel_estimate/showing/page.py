"""A sweep as one self-contained page: stacked bars, the device's limit, the numbers. No script, nothing fetched."""

from __future__ import annotations

from html import escape
from typing import cast

from accel_estimate.devices.units import GIB, spell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.estimation.sweep import Point, Sweep

# Colors that color-blind people can tell apart (Okabe and Ito, 2008), in the order of the components.
_COLORS = ("#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7", "#8c8c8c")
_LEFT, _RIGHT, _TOP, _BAR, _GAP = 110, 120, 34, 30, 16
_WIDTH = 960
_MOST_LINES = 9

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #666; --line: #d9d9d9; --paper: #fff; --limit: #c00000; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #eee; --soft: #aaa; --line: #444; --paper: #16181c; --limit: #ff6b6b; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 960px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
p { color: var(--soft); margin: .2rem 0 1rem; }
code { white-space: nowrap; }
svg { width: 100%; height: auto; display: block; }
svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
svg .soft { fill: var(--soft); }
svg .grid { stroke: var(--line); }
svg .limit { stroke: var(--limit); stroke-width: 2; stroke-dasharray: 6 4; }
svg .over { fill: var(--limit); font-weight: 600; }
svg .range { stroke: var(--ink); stroke-width: 1.5; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: .6rem 0 1rem; padding: 0; list-style: none; }
.legend span { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; margin-right: .4rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { text-align: right; padding: .35rem .5rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.no { color: var(--limit); font-weight: 600; }
"""


def render(sweep: Sweep) -> str:
    """Return the whole page."""
    first = sweep.points[0].report
    name = escape(first.model.name)
    kind = "training" if first.training is not None else "serving"
    title = f"Memory of {name} in {kind}, by {sweep.setting}"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{title}</h1>
<p>{first.parameters:,} parameters. Expected memory of each device at its peak; the thin line spans low to high.
{_settings(sweep)}</p>
{_legend(sweep)}
{_chart(sweep)}
<div class="wide">{_table(sweep)}</div>
</body>
</html>
"""


def _settings(sweep: Sweep) -> str:
    """Return the settings that aren't at their defaults, as flags."""
    asked = sweep.ask.training or sweep.ask.serving
    if asked is None:
        return ""
    changed = [(key, value) for key, value in asked if value != getattr(type(asked), key) and key != sweep.setting]
    flags = " ".join(f"<code>{escape(f'--{key} {_typed(value)}')}</code>" for key, value in changed)
    return f"Settings: {flags}." if flags else ""


def _typed(value: object) -> str:
    return ",".join(map(str, cast("tuple[object, ...]", value))) if isinstance(value, tuple) else str(value)


def _names(sweep: Sweep) -> list[str]:
    """Return the components that any point has."""
    return [name for name in sweep.points[0].parts if any(point.parts[name] > 0 for point in sweep.points)]


def _color(index: int) -> str:
    return _COLORS[index % len(_COLORS)]


def _legend(sweep: Sweep) -> str:
    items = (
        f'<li><span style="background:{_color(index)}"></span>{escape(name)}</li>'
        for index, name in enumerate(_names(sweep))
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _limit(sweep: Sweep) -> float | None:
    fit = sweep.points[0].report.fit
    return fit.limit if fit else None


def _chart(sweep: Sweep) -> str:
    limit = _limit(sweep)
    largest = max([point.total[2] for point in sweep.points] + [limit or 0.0]) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / largest
    height = _TOP + len(sweep.points) * (_BAR + _GAP) + 30
    body = [_grid(largest, scale, height)]
    body += [_bar(sweep, point, _TOP + index * (_BAR + _GAP), scale) for index, point in enumerate(sweep.points)]
    if limit is not None:
        fit = sweep.points[0].report.fit
        at = _LEFT + limit * scale
        body.append(
            f'<line class="limit" x1="{at:.1f}" y1="{_TOP - 10}" x2="{at:.1f}" y2="{height - 26}"/>'
            f'<text x="{at:.1f}" y="{_TOP - 16}" text-anchor="middle" class="over">'
            f"{escape(_device_label(fit.device, limit) if fit else '')}</text>"
        )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="Stacked bars of memory by '
        f'{sweep.setting}">{"".join(body)}</svg>'
    )


def _device_label(device: str, limit: float) -> str:
    """Return the device with its size, or the size alone if that is what the user typed."""
    return spell(limit) if device[:1].isdigit() else f"{device} {spell(limit)}"


def _grid(largest: float, scale: float, height: int) -> str:
    step = _step(largest / GIB)
    lines: list[str] = []
    for tick in range(int(largest / GIB / step) + 1):
        at = _LEFT + tick * step * GIB * scale
        lines.append(
            f'<line class="grid" x1="{at:.1f}" y1="{_TOP - 8}" x2="{at:.1f}" y2="{height - 26}"/>'
            f'<text class="soft" x="{at:.1f}" y="{height - 8}" text-anchor="middle">{tick * step:g}</text>'
        )
    lines.append(f'<text class="soft" x="{_WIDTH}" y="{height - 8}" text-anchor="end">GiB</text>')
    return "".join(lines)


def _step(largest: float) -> float:
    """Return the distance between lines: 1, 2 or 5 times a power of ten, for at most nine lines."""
    power = 0.001
    while True:
        for factor in (1, 2, 5):
            if largest / (power * factor) <= _MOST_LINES:
                return power * factor
        power *= 10


def _bar(sweep: Sweep, point: Point, top: int, scale: float) -> str:
    at, pieces = float(_LEFT), [f'<text x="{_LEFT - 10}" y="{top + 20}" text-anchor="end">{point.value:,}</text>']
    for index, name in enumerate(_names(sweep)):
        width = max(point.parts[name], 0) * scale
        pieces.append(
            f'<rect x="{at:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}" fill="{_color(index)}">'
            f"<title>{escape(name)}: {spell(point.parts[name])}</title></rect>"
        )
        at += width
    low, high, middle = _LEFT + point.total[0] * scale, _LEFT + point.total[2] * scale, top + _BAR + 5
    pieces.append(f'<line class="range" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>')
    over = point.report.fit is not None and not point.report.fit.fits
    pieces.append(
        f'<text x="{_WIDTH}" y="{top + 20}" text-anchor="end"{" class=over" if over else ""}>'
        f"{spell(point.expected)}</text>"
    )
    return "".join(pieces)


def _table(sweep: Sweep) -> str:
    names = _names(sweep)
    fitted = _limit(sweep) is not None
    heads = [sweep.setting, *names, "low", "expected", "high", *(["fits"] if fitted else [])]
    rows = [f"<tr>{''.join(f'<th>{escape(head)}</th>' for head in heads)}</tr>"]
    for point in sweep.points:
        cells = [f"{point.value:,}", *(spell(point.parts[name]) for name in names), *map(spell, point.total)]
        row = "".join(f"<td>{cell}</td>" for cell in cells)
        if point.report.fit is not None:
            row += "<td>yes</td>" if point.report.fit.fits else '<td class="no">no</td>'
        rows.append(f"<tr>{row}</tr>")
    return f"<table>{''.join(rows)}</table>"
