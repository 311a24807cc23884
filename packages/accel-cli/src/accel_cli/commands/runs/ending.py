"""How a run has ended, as `stop` and `wait` print it."""

from __future__ import annotations

from accel_config.errors import FAILED
from accel_config.showing import console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from accel_launch.runs import Run


def first_failure(runs: Iterable[Run], end: Callable[[Run], object]) -> int:
    """Wait for each run by ``end``, and print how it has ended; return the first exit status that isn't 0."""
    statuses: list[int] = []
    for run in runs:
        end(run)
        status = run.status
        console.show(f"{run.name} ended{' without a status' if status is None else ''}: {run.ending}\n")
        statuses.append(FAILED if status is None else status)
    return next((status for status in statuses if status), 0)
