"""The bars of a page: the components at the peak, the device's limit, and a table of the same numbers."""

from __future__ import annotations

from html import escape

from accel_estimate.devices.units import GIB, spell
from accel_estimate.showing import drawing
from accel_estimate.showing.wording import spelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_estimate.estimation.sweep import Point
    from accel_estimate.showing.drawing import Size

_TOP, _BAR, _GAP = 34, 30, 16


def render(points: Sequence[Point], setting: str) -> str:
    """Return bars with their legend and table, one for each point; `setting` names their values."""
    names = [name for name in points[0].parts if any(point.parts[name] > 0 for point in points)]
    label = f"Stacked bars of memory by {escape(setting)}" if setting else "Stacked bar of memory at the peak"
    return "\n".join(
        (
            drawing.legend([escape(name) for name in names]),
            drawing.both(lambda size: _chart(points, names, size, setting), label),
            _table(points, names, setting),
        )
    )


def _limit(points: Sequence[Point]) -> float | None:
    fit = points[0].report.fit
    return fit.limit if fit else None


def _chart(points: Sequence[Point], names: list[str], size: Size, setting: str) -> tuple[int, str]:
    limit = _limit(points)
    largest = max([point.total[2] for point in points] + [limit or 0.0]) or 1.0
    scale = size.inside / largest
    height = _TOP + len(points) * (_BAR + _GAP) + 30
    body = [_grid(largest, scale, height, size)]
    for index, point in enumerate(points):
        top = _TOP + index * (_BAR + _GAP)
        if setting:
            body.append(f'<text x="{size.left - 10}" y="{top + 20}" text-anchor="end">{point.value:,}</text>')
        body.append(_bar(point, names, top, scale, size))
    fit = points[0].report.fit
    if fit is not None:
        at = size.left + fit.limit * scale
        middle = min(max(at, size.width / 4), size.width * 3 / 4)  # so that the label stays inside
        body.append(
            f'<line class="limit" x1="{at:.1f}" y1="{_TOP - 10}" x2="{at:.1f}" y2="{height - 26}"/>'
            f'<text x="{middle:.1f}" y="{_TOP - 16}" text-anchor="middle" class="over">'
            f"{escape(device_label(fit.device, fit.limit))}</text>"
        )
    return height, "".join(body)


def device_label(device: str, limit: float) -> str:
    """Return the device with its size, or the size alone if that is what the user typed."""
    return spell(limit) if device.endswith("iB") else f"{device}: {spell(limit)}"


def _grid(largest: float, scale: float, height: int, size: Size) -> str:
    step = drawing.step(largest / GIB, max(size.width // 110, 3))
    lines: list[str] = []
    for tick in range(int(largest / GIB / step) + 1):
        at = size.left + tick * step * GIB * scale
        lines.append(
            f'<line class="grid" x1="{at:.1f}" y1="{_TOP - 8}" x2="{at:.1f}" y2="{height - 26}"/>'
            f'<text class="soft" x="{at:.1f}" y="{height - 8}" text-anchor="middle">{tick * step:g}</text>'
        )
    lines.append(f'<text class="soft" x="{size.width}" y="{height - 8}" text-anchor="end">GiB</text>')
    return "".join(lines)


def _bar(point: Point, names: list[str], top: int, scale: float, size: Size) -> str:
    at, pieces = float(size.left), list[str]()
    for index, name in enumerate(names):
        width = max(point.parts[name], 0) * scale
        pieces.append(
            f'<rect x="{at:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}" fill="{drawing.color(index)}">'
            f"<title>{escape(name)}: {spell(point.parts[name])}</title></rect>"
        )
        at += width
    low, high, middle = size.left + point.total[0] * scale, size.left + point.total[2] * scale, top + _BAR + 5
    pieces.append(f'<line class="range" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>')
    over = point.report.fit is not None and not point.report.fit.fits
    pieces.append(
        f'<text x="{size.width}" y="{top + 20}" text-anchor="end"{" class=over" if over else ""}>'
        f"{spell(point.expected)}</text>"
    )
    return "".join(pieces)


def _table(points: Sequence[Point], names: list[str], setting: str) -> str:
    fitted = _limit(points) is not None
    heads = [*([setting] if setting else []), *names, "low", "expected", "high", *(["fits"] if fitted else [])]
    body: list[list[tuple[str, str]]] = []
    for point in points:
        amounts = [*(point.parts[name] for name in names), *point.total]
        row = [*([(f"{point.value:,}", "")] if setting else []), *((spell(amount), "") for amount in amounts)]
        if point.report.fit is not None:
            row.append((spelled(point.report.fit), "" if point.report.fit.fits else "no"))
        body.append(row)
    return drawing.rows([escape(head) for head in heads], body)
