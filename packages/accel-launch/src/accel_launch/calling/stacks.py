"""`stacks`: what the ranks of a run do right now, as data."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_launch.running.onlookers.registry.reading import Run


def stacks(run: str | int | None = None, *, variables: bool = False, native: bool = False) -> dict[str, Any]:
    """Return what each rank of a run on this machine does right now, as ``accelerate stacks --json`` prints it.

    It works while the run goes on: in another thread than `launch`, in ``on_event``, or in another program. What
    ranks did in a standstill is in ``event.stall`` already, also if that ends the run.

    Args:
        run: The run's name, the beginning of one, or the pid of its launcher or of any of its ranks, such as
            ``event.pid``. None: the newest one that this process has launched, else the newest of this user.
        variables: Also read local variables.
        native: Also read the calls of C, C++ and Rust. Each thread stands still for it, for less than a tenth of a
            second.

    Returns:
        ``run``, ``launcher``, ``at``, ``groups`` and ``ranks``, in the form of ``docs/stacks.schema.json``.

    Raises:
        AccelError: there is no such run, or its launcher doesn't answer.
    """
    from accel_launch.running.onlookers.registry import asking, finding

    found = None
    if run is None:
        found = next(filter(_launched_here, finding.running(os.environ)), None)
    if found is None:
        found = finding.find(None if run is None else str(run), os.environ)
    return dict(
        asking.ask(found.folder, {"ask": "stacks", "children": True, "variables": variables, "native": native})
    )


def _launched_here(run: Run) -> bool:
    from accel_launch.ranks.system import calls

    facts = calls.look(run.pid)
    return facts is not None and facts[0] == os.getpid()
