"""A page that stands alone: the conclusion, the frontier, bars with the device's limit, and the numbers.

It has no script and fetches nothing.
"""

from __future__ import annotations

from html import escape
from pathlib import PurePath
from typing import cast

from accel_estimate.answer.search import spelled
from accel_estimate.devices.units import spell
from accel_estimate.estimation.sweep import Point, Sweep
from accel_estimate.showing import bars, frontier
from accel_estimate.showing.wording import answered, verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_estimate.answer.frontier import Line
    from accel_estimate.estimation.ask import Ask
    from accel_estimate.estimation.memory_report import Report

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #666; --line: #d9d9d9; --paper: #fff; --limit: #c00000;
        --good: #1a7f37; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #eee; --soft: #aaa; --line: #444; --paper: #16181c; --limit: #ff6b6b; --good: #57ab5a; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 960px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
p { color: var(--soft); margin: .2rem 0 1rem; }
code { overflow-wrap: anywhere; }
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
svg.for-phones { display: none; }
svg .front { fill: none; stroke-width: 2.5; }
h2 { font-size: 1.1rem; margin: 1.6rem 0 .2rem; }
.conclusion { color: var(--ink); font-size: 1.15rem; border-left: .3rem solid var(--good); padding: .1rem .8rem; }
.conclusion.no { border-color: var(--limit); font-weight: 400; }
@media (max-width: 640px) {
  body { margin: 1rem auto; }
  svg.for-wide { display: none; }
  svg.for-phones { display: block; }
}
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { text-align: right; padding: .35rem .5rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.no { color: var(--limit); font-weight: 600; }
"""


def of_report(report: Report, ask: Ask) -> str:
    """Return the page of one estimate that was held against a device."""
    return render(Sweep("", (Point(0, report),), ask))


def render(sweep: Sweep) -> str:
    """Return the whole page."""
    first = sweep.points[0].report
    # A long path would push the conclusion off a phone's first screen; it stands below.
    path = PurePath(first.model.name)
    name = escape(path.name if path.is_absolute() else first.model.name)
    where = f" of <code>{escape(str(path))}</code>" if path.is_absolute() else ""
    kind = "training" if sweep.ask.training is not None else "serving"
    title = f"Memory of {name} in {kind}" + (f", by {sweep.setting}" if sweep.setting else "")
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
{_conclusion(sweep)}
<p>{first.parameters:,} parameters{where}. {_settings(sweep)}</p>
{_frontier(sweep)}
<h2>Memory of each device at its peak</h2>
<p>The bars are what is expected; the thin line spans low to high.</p>
{bars.render(sweep.points, sweep.setting)}
{_notes(first)}
</body>
</html>
"""


def _conclusion(sweep: Sweep) -> str:
    """Return what follows from the numbers, in a sentence or two."""
    fits = [point.report.fit for point in sweep.points]
    first = fits[0]
    if first is None:
        least, most = (pick(sweep.points, key=lambda point: point.expected) for pick in (min, max))
        parts = [f"{spell(it.expected)} with {sweep.setting} {it.value:,}" for it in (least, most)]
        return f'<p class="conclusion">Each device needs {" to ".join(dict.fromkeys(parts))}.</p>'
    if not sweep.setting:
        lines = [verdict(first), *([] if first.fits else [answered(first.answer)])]
        return f'<p class="conclusion{"" if first.fits else " no"}">{"<br>".join(map(escape, lines))}</p>'
    return _by_value(sweep, bars.device_label(first.device, first.limit))


def _by_value(sweep: Sweep, device: str) -> str:
    """Return which values fit a device, and what the smallest of the others needs."""
    good = [point for point in sweep.points if point.report.fit and point.report.fit.fits]
    bad = [point for point in sweep.points if point not in good]
    barely = [point for point in good if point.report.fit and point.report.fit.barely]
    sentence = f"{_values(sweep, good)} {'fits' if len(good) == 1 else 'fit'} {device}. " if good else ""
    if barely:
        sentence += f"{_values(sweep, barely)} barely {'does' if len(barely) == 1 else 'do'}. "
    if bad:
        nearest = min(bad, key=lambda point: point.expected)
        word = "doesn't fit" if len(bad) == 1 else "don't fit"
        sentence += f"{_values(sweep, bad)} {word}{'' if good else f' {device}'}: "
        sentence += f"{nearest.value:,} needs {spell(nearest.expected)}."
    return f'<p class="conclusion{" no" if bad else ""}">{escape(sentence.strip())}</p>'


def _values(sweep: Sweep, points: Sequence[Point]) -> str:
    return f"{sweep.setting} {', '.join(f'{point.value:,}' for point in points)}"


def _frontier(sweep: Sweep) -> str:
    """Return the frontier on the device, for the first point's settings."""
    lines = _lines(sweep.points[0].report, sweep.ask)
    if not lines:
        return ""
    return f"<h2>The largest batch by length, in each strategy</h2>\n{frontier.render(lines)}"


def _lines(report: Report, ask: Ask) -> Sequence[Line]:
    if report.fit is None:
        return ()
    from accel_estimate.answer.frontier import of_serving, of_training

    if ask.training is not None:
        return of_training(report.model, report.fit.device, ask.training, report.fit.answer)
    return of_serving(report.model, report.fit.device, ask.serving) if ask.serving is not None else ()


def _notes(report: Report) -> str:
    return "\n".join(f"<p>Note: {escape(note)}</p>" for note in report.notes)


def _settings(sweep: Sweep) -> str:
    """Return the settings that aren't at their defaults, as flags."""
    asked = sweep.ask.training or sweep.ask.serving
    if asked is None:
        return ""
    changed = [(key, value) for key, value in asked if value != getattr(type(asked), key) and key != sweep.setting]
    flags = " ".join(f"<code>{escape(f'--{spelled(key)} {_typed(value)}')}</code>" for key, value in changed)
    return f"Settings: {flags}." if flags else ""


def _typed(value: object) -> str:
    return ",".join(map(str, cast("tuple[object, ...]", value))) if isinstance(value, tuple) else str(value)
