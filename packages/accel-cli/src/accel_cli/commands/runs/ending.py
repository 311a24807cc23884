"""How runs have ended, as `stop` and `wait` print it."""

from __future__ import annotations

from accel_config import front
from accel_config.errors import FAILED, AccelError
from accel_config.showing import console
from accel_launch import runs

SHOWN = 3  # processes that a line names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from accel_launch.runs import Run


def line(run: Run) -> str:
    """Return how a run has ended."""
    if run.state == "elsewhere":
        return f"{run.name} is {run.words}: its end isn't known here"
    return f"{run.name} ended{' without a status' if run.status is None else ''}: {run.ending}"


def awaited(run: Run) -> str:
    """Return what a run waits for whose ranks have all ended; empty if it doesn't."""
    left = run.left
    more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
    return f"waits for what its ranks have left: {', '.join(left[:SHOWN])}{more}" if left else ""


def of_each(
    names: Sequence[str],
    program: str,
    end: Callable[[Run], object],
    begin: Callable[[Run], object] | None = None,
) -> int:
    """Wait for each of the named runs by ``end``, and print how it has ended; without names for the newest.

    What goes wrong with one of them is printed, and holds up none of the others. Return the first exit status that
    isn't 0.

    Args:
        names: Which runs; one that is named twice is one.
        program: What messages call the command.
        end: Called with each run in turn.
        begin: Called with all of them before that; the newest run is then one that runs.
    """
    statuses: list[int] = []
    found: dict[str, Run] = {}

    def tried(act: Callable[[], None]) -> None:
        try:
            act()
        except AccelError as error:
            statuses.append(front.fail(program, str(error), error.status))

    def find(name: str | None) -> None:
        run = _named(name, running=begin is not None)
        if run.path not in found and begin is not None:
            begin(run)
        found.setdefault(run.path, run)

    def wait(run: Run) -> None:
        end(run)
        console.show(f"{line(run)}\n")
        statuses.append(FAILED if run.status is None else run.status)

    for name in names or (None,):
        tried(lambda name=name: find(name))
    for run in found.values():
        tried(lambda run=run: wait(run))
    return next((status for status in statuses if status), 0)


def _named(name: str | None, *, running: bool) -> Run:
    """Return the run that a word means: with ``running`` one that runs, else one that has ended since.

    Raises:
        AccelError: there is none, or there are several.
    """
    try:
        return runs.open(name, running=running)
    except AccelError:
        if not running or name is None:
            raise
        try:
            return runs.open(name)
        except AccelError:
            pass
        raise
