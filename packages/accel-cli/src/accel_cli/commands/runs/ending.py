"""How a run has ended, as `stop` and `wait` print it."""

from __future__ import annotations

from accel_config.errors import FAILED
from accel_config.showing import console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from accel_launch.runs import Run


def line(run: Run) -> str:
    """Return how a run has ended."""
    return f"{run.name} ended{' without a status' if run.status is None else ''}: {run.ending}"


def first_failure(runs: Iterable[Run], end: Callable[[Run], object]) -> int:
    """Wait for each run by ``end``, and print how it has ended; return the first exit status that isn't 0."""
    statuses: list[int] = []
    for run in runs:
        end(run)
        console.show(f"{line(run)}\n")
        statuses.append(FAILED if run.status is None else run.status)
    return next((status for status in statuses if status), 0)
