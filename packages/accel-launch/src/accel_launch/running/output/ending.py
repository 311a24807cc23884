"""What a terminal shows at the end of a run for the tracebacks that were held back."""

from __future__ import annotations

import os

from accel_config.showing.printable import one_line
from accel_launch.inspecting.groups import spans
from accel_launch.ranks.signals import signal
from accel_launch.running.output.stream import prefixed
from accel_launch.running.report import evidence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.planning.types import Display
    from accel_launch.running.output.router import OutputRouter
    from accel_launch.running.report.records import Result

WIDEST = 200  # characters of an exception


def finish(output: OutputRouter, display: Display, result: Result) -> None:
    """Show at the end what stands for the tracebacks that were held back; end a line that isn't finished."""
    error = output.streams[1]
    if error.gone:
        return
    shown = instead(output, result, display.report)
    if error.unfinished and (shown or result.status):
        shown = b"\n" + shown
    elif result.signal == signal.SIGINT and error.terminal:
        shown = b"\r" + shown  # over the terminal's ^C
    try:
        while shown:
            shown = shown[os.write(error.fd, shown) :]
    except OSError:
        pass  # nobody sees it


def instead(output: OutputRouter, result: Result, report: str | None = None) -> bytes:
    """Return a line for each exception that ended ranks, and whatever else was held back as it is.

    The tracebacks are in the ``report``, if one will be written.
    """
    held = output.held_back
    if not held:
        return b""
    kept = output.logs.path if held and held[0].file is not None else None
    where = kept or report or "--debug shows the traceback, --log_dir keeps it"
    finding = evidence.loaded()
    ranks = {ending.local_rank: ending.rank for ending in result.endings}
    failure = result.failure
    ours = failure is not None and not failure.host
    ended = {one.rank for one in result.also_raised}
    root = failure.ending.local_rank if failure is not None and not failure.host else None
    shown, raised = b"", dict[str, list[int]]()
    for channel in held:
        text = channel.folded.decode(errors="replace")
        said = finding.last_exception(text) if finding is not None and channel.local != root else ""
        if said and channel.local in ranks and (not ours or ranks[channel.local] in ended):
            raised.setdefault(said, []).append(ranks[channel.local])
        else:
            shown += prefixed(channel.unfolded(), channel.prefix, starts=True)
    for said, numbers in raised.items():
        if not (result.signal and said == "KeyboardInterrupt"):
            who = f"rank{'s' if len(numbers) > 1 else ''} {spans(numbers)}"
            shown += one_line(f"accel: {who} also raised {said[:WIDEST]} ({where})").encode() + b"\n"
    return shown
