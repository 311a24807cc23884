"""How a run has ended, as `stop` and `wait` print it."""

from __future__ import annotations

from accel_config.errors import FAILED
from accel_config.showing import console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.runs import Run


def told(run: Run) -> int:
    """Print how a run has ended; return its exit status, or that of a failure if it has none."""
    status = run.status
    console.show(f"{run.name} ended{' without a status' if status is None else ''}: {run.ending}\n")
    return FAILED if status is None else status
