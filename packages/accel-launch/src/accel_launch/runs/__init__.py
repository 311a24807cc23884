"""The runs of this user on this machine, for programs; `accelerate ps`, `logs`, `stop` and so on use it."""

from __future__ import annotations

import os

from accel_launch.running.onlookers.registry import finding, reading
from accel_launch.running.onlookers.registry.figures import devices
from accel_launch.running.onlookers.registry.record.piece import Piece
from accel_launch.runs.output import Output
from accel_launch.runs.recorded import facts
from accel_launch.runs.run import Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Output", "Piece", "Run", "devices", "facts", "list", "open"]


def list(*, ended: bool = False, lost: bool = False) -> Sequence[Run]:  # noqa: A001
    """Return the runs of this user on this machine, the newest first.

    Args:
        ended: Those that have ended too.
        lost: Those too whose launcher was killed within the last day.

    Raises:
        AccelError: the folder of the records isn't this user's alone.
    """

    def wanted(run: reading.Run) -> bool:
        return ended or run.running or (lost and run.state == reading.LOST and run.recent)

    return [Run(found) for found in finding.every(os.environ) if wanted(found)]


def open(name: str | int | None = None, *, running: bool = False) -> Run:  # noqa: A001
    """Return a run by its name, an unambiguous beginning, or a pid of its processes; None is the newest.

    Args:
        name: Which one.
        running: Only one that runs.

    Raises:
        AccelError: there is no such run, or there are several.
    """
    return Run(finding.find(None if name is None else str(name), os.environ, ended=not running))
