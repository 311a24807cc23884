"""How a run has ended, as `stop` and `wait` print it."""

from __future__ import annotations

from accel_config.errors import FAILED
from accel_config.showing import console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.onlookers.registry.reading import Run


def told(run: Run) -> int:
    """Print how a run has ended; return its exit status, or that of a failure if it has none."""
    console.show(f"{line(run)}\n")
    return FAILED if run.status is None else run.status


def line(run: Run) -> str:
    """Return how a run has ended."""
    from accel_launch.running.report.records import signal_name

    run.look()
    if run.status is None:
        why = run.told.partition(": ")[2] if run.locked else "it left no record"
        return f"{run.name} ended without a status: {why}"
    ended = (event for event in reversed(run.events()) if event["kind"] == "finished")
    by = next((event.get("signal") for event in ended), 0)
    how = f"terminated by {signal_name(by)}" if isinstance(by, int) and by else f"exit status {run.status}"
    return f"{run.name} ended: {how}"
