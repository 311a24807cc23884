"""A report for people: tables on a terminal. rich is imported here and for the progress bar only."""

from __future__ import annotations

import sys

from rich.box import ROUNDED
from rich.console import Console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from accel_config.showing.printable import printable
from accel_config.showing.wording import line
from accel_estimate.devices.units import GIB, spell
from accel_estimate.estimation.memory_report import components
from accel_estimate.formats import tensors
from accel_estimate.showing.wording import answered, batch, spelled, verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import ConsoleOptions, RenderableType

    from accel_estimate.answer.reach import Reach
    from accel_estimate.estimation.memory_report import Report
    from accel_estimate.estimation.sweep import Sweep
    from accel_estimate.serving.server import ServingEstimate
    from accel_estimate.training.step import TrainingEstimate

_MOST_COMPONENTS = 12
_WIDEST = 1000


class _Console(Console):
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield segments in which names and notes of strangers are safe to print."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)

    def on_broken_pipe(self) -> None:
        """Leave it to the command's front; rich would end the process with status 1."""
        raise BrokenPipeError


def console() -> Console:
    """Return a console on standard output that prints text as it is; what isn't a terminal has room for all of it."""
    width = None if sys.stdout.isatty() else _WIDEST
    return _Console(highlight=False, markup=False, emoji=False, soft_wrap=True, width=width)


def show(report: Report, console: Console) -> None:
    """Print everything in the report."""
    console.print(_sizes(report))
    console.print(Text(_stored(report)))
    if report.training is not None:
        console.print(_training(report.training))
        _why(report, console)
    if report.serving is not None:
        console.print(_serving(report.serving, report.reach))
    _notes(report.notes, console)
    if report.fit is not None:
        console.print(Text(verdict(report.fit), style="green" if report.fit.fits else "red"))
        if not report.fit.fits:
            console.print(Text(answered(report.fit.answer)))


def grid(title: str, *columns: str) -> Table:
    """Return an empty table; the first of its columns has words."""
    table = Table(title=title, box=ROUNDED, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def _sizes(report: Report) -> Table:
    table = grid(
        f"Memory to load {line(report.model.name)}", "dtype", "Largest Layer", "Total Size", "Training using Adam"
    )
    for row in report.rows:
        adam = "N/A" if row.training_adam_bytes is None else spell(row.training_adam_bytes)
        table.add_row(row.dtype, spell(row.largest_layer_bytes), spell(row.total_bytes), adam)
    return table


def _stored(report: Report) -> str:
    """Return the content of the files: parameters, bytes by type, the largest layer, the components of a pipeline."""
    model = report.model
    types = ", ".join(f"{dtype} {spell(size)}" for dtype, size in tensors.by_dtype(model.tensors).items())
    lines = [
        f"{report.parameters:,} parameters; {spell(model.stored_bytes)} {_origin(model.origin)}"
        + (f" ({types})" if types else "")
    ]
    if report.largest.name:
        lines.append(f"Largest layer: {report.largest.name}, {spell(report.largest.nbytes)} as stored")
    parts = tensors.by_component(model.tensors)
    if 1 < len(parts) <= _MOST_COMPONENTS:
        lines.append("Components: " + ", ".join(f"{name} {spell(size)}" for name, size in parts.items()))
    return "\n".join(map(line, lines))


def _origin(origin: str) -> str:
    if origin in ("safetensors", "gguf"):
        return f"in its {origin} files"
    return f"from its {origin}"


def _training(it: TrainingEstimate) -> Table:
    table = grid(f"Training, on each device{', traced' if it.traced else ''}", "component", "at the peak")
    for name, amount in components(it).items():
        table.add_row(name, spell(amount))
    table.add_section()
    for name, amount in (("low", it.low), ("expected", it.expected), ("high", it.high)):
        table.add_row(Text(name, style="bold" if name == "expected" else ""), spell(amount))
    if it.traced:
        table.add_section()
        table.add_row("allocated", spell(it.allocated[1]))
        table.add_row("reserved", spell(it.reserved[1]))
        table.add_row("reserved, expandable segments", spell(it.expandable or 0))
    return table


def _why(report: Report, console: Console) -> None:
    if report.training is None:
        return
    console.print(Text(f"Peak: {report.training.peak.name}: {report.training.peak.why}."))
    if report.savings:
        console.print("What would lower it most:")
        for saving in report.savings:
            console.print(Text(f"  {saving.name}: -{saving.saves / GIB:.1f} GiB  ({saving.flags})"))


def _serving(it: ServingEstimate, reach: Reach | None) -> Table:
    table = grid("Serving, on each device", "component", "bytes")
    for name, amount in (
        ("weights", it.weights),
        ("cache of keys and values", it.cache.used),
        ("reading a prompt", it.working),
    ):
        table.add_row(name, spell(amount))
    table.add_section()
    for name, amount in (("low", it.low), ("expected", it.expected), ("high", it.high)):
        table.add_row(Text(name, style="bold" if name == "expected" else ""), spell(amount))
    if reach is not None:
        table.add_section()
        if reach.longest_context is not None:
            table.add_row("longest context that fits", f"{reach.longest_context:,} tokens")
        table.add_row("largest batch that fits", f"{batch(reach)} sequences")
    return table


def _notes(notes: Sequence[str], console: Console) -> None:
    for note in notes:
        console.print(Text(f"Note: {line(note)}", style="dim"))


def show_sweep(sweep: Sweep, console: Console) -> None:
    """Print one row for each value of the setting."""
    fitted = sweep.points[0].report.fit
    first = sweep.points[0].report
    kind = "Training" if first.training is not None else "Serving"
    columns = (sweep.setting, "low", "expected", "high", *(("margin", "fits") if fitted else ()))
    table = grid(f"{kind} {first.model.name}, on each device", *columns)
    for point in sweep.points:
        cells = [str(point.value), *(spell(amount) for amount in point.total)]
        if point.report.fit is not None:
            fit = point.report.fit
            cells += [spell(fit.margin), spelled(fit)]
        table.add_row(*cells)
    console.print(table)
    if fitted is not None:
        console.print(Text(f"Limit: {fitted.device}, {spell(fitted.limit)}."))
    _notes(first.notes, console)
