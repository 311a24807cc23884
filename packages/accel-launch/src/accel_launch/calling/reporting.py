"""`report`: a result in the words of the command line."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.report.records import Result


def report(result: Result, *, traceback: bool = False) -> str:
    """Return what `accelerate launch` prints at the end of such a run; empty if nothing failed.

    Args:
        result: How the run ended.
        traceback: Add the traceback of the rank that failed first, as ``--debug`` does.
    """
    from accel_launch.machine.files import node
    from accel_launch.running.report import rendering

    return rendering.text(result, node(), whole=traceback)
