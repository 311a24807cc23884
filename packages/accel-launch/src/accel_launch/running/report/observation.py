"""What the supervisor observes of a run, before any judgement."""

from __future__ import annotations

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from accel_launch.running.onlookers.stall.telling import Stall
    from accel_launch.running.report.records import Ending


class Output(Record):
    """The end of what a rank wrote to its standard error."""

    text: str = ""
    traceback_at: float = 0.0
    """When its last traceback began, in seconds since the epoch; 0 if it printed none."""
    written_at: float = 0.0
    """When it last wrote anything, in seconds since the epoch."""
    began_at: float = 0.0
    """When the run began, in seconds since the epoch; 0 if that isn't known."""
    ended_at: float = 0.0
    """When the rank ended, in seconds since the epoch; 0 if that isn't known."""


class Observation(Record):
    """What the supervisor observed of a run."""

    endings: tuple[Ending, ...]
    """How the ranks of the last attempt ended, in that order."""
    earlier: tuple[tuple[Ending, ...], ...]
    """How the ranks of earlier attempts ended."""
    engine: Ending | None
    """How the engine ended that starts the ranks; None without such an engine."""
    signalled: int
    """The signal to the launcher that ended the run, or 0."""
    asked: float | None
    """When the signal came, the reader went away or the guardian died, in seconds since the epoch."""
    reader_gone: bool
    """Whether the reader of the launcher's output went away."""
    guardian: Ending | None
    """How the guardian ended if it didn't finish its work; else None."""
    unstarted: tuple[str, ...]
    """Messages about ranks that couldn't be started."""
    notes: tuple[str, ...]
    """Notes to print at the end."""
    output: Callable[[int], Output]
    """Returns the end of a local rank's standard error; of the engine's own output for -1."""
    error: Callable[[int], str]
    """Returns what a local rank left by torch's error-file protocol."""
    log: Callable[[int], str | None]
    """Returns the folder of a local rank's log files."""
    killed_for_memory: bool
    """Whether the OOM killer killed a process of the launcher's cgroup during the run."""
    unwritable: tuple[str, ...] = ()
    """Which of the launcher's standard streams can't be written any more, and why: that ended the run."""
    printed: tuple[str, ...] = ()
    """Notes that were printed during the run."""
    unended: tuple[int, ...] = ()
    """Ranks under an engine that started, and whose end isn't recorded: their parents were killed."""
    stalls: tuple[Stall, ...] = ()
    """When the run stood still, and who did what then."""
    stalled: bool = False
    """Whether the last of them ended the run."""
    stacks: tuple[Mapping[str, Any], ...] = ()
    """What ranks did at the end, if they outstayed the grace or weren't the reason for it."""
    began: float = 0.0
    """When the run began, in seconds since the epoch; 0 if that isn't known."""
    standing: Stall | None = None
    """What the ranks were seen doing when one has waited too long, or last stood still; None if nobody has looked."""
    recorded: Callable[[], dict[int, Any]] = dict
    """Returns what torch's flight recorder has left, by rank."""
