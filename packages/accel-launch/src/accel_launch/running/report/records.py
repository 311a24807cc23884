"""The records of a run's end, as the Python API returns them: `Result`, `Failure`, `Ending` and `Event`."""

from __future__ import annotations

import os

from accel_config.errors import LATER
from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from accel_launch.running.lifeline.sameness.rules import Difference
    from accel_launch.running.onlookers.stall.telling import Stall
    from accel_launch.running.report.timeout import Timeout


class Ending(Record):
    """How one rank ended."""

    rank: int
    """Its global rank; -1 if the process wasn't a rank."""
    local_rank: int
    """Its rank on its machine; -1 if the process wasn't a rank."""
    pid: int
    """Its process id."""
    status: int
    """Its exit status as a shell gives it: 0 to 255, or 128 plus the number of the signal that terminated it."""
    signal: int
    """The number of the signal that terminated it; 0 if it exited by itself."""
    at: float
    """When it ended, in seconds since the epoch."""
    host: str = ""
    """The name of its host; empty for the launcher's own host."""
    machine: int | None = None
    """The rank of its machine in a run that ``--hosts`` starts, else None."""

    @classmethod
    def from_wait_status(cls, rank: int, local_rank: int, pid: int, wait_status: int, at: float) -> Ending:
        """Return the ending that `os.waitpid` describes by a wait status."""
        number = os.WTERMSIG(wait_status) if os.WIFSIGNALED(wait_status) else 0
        return cls(rank, local_rank, pid, 128 + number if number else os.WEXITSTATUS(wait_status), number, at)

    @property
    def later(self) -> bool:
        """Whether it asks to be queued again: it has saved its work, which is no failure."""
        return self.status == LATER and not self.signal

    @property
    def failed(self) -> bool:
        """Whether it failed."""
        return bool(self.status) and not self.later

    @property
    def how(self) -> str:
        """The ending in words, such as ``exit status 3`` or ``terminated by SIGKILL``."""
        return f"terminated by {signal_name(self.signal)}" if self.signal else f"exit status {self.status}"


def unstarted(rank: int) -> str:
    """Return how the message about a rank that couldn't be started begins."""
    return f"rank {rank} couldn't be started: "


class AttemptReport(Record):
    """One start of all ranks of a run that is started again after failures."""

    number: int
    """Its number, from 0, which its ranks read from ``TORCHELASTIC_RESTART_COUNT``."""
    began: float
    """When it began, in seconds since the epoch."""
    ended: float
    """When nothing was left of it, in seconds since the epoch."""
    status: int
    """The exit status that the run would have had."""
    cause: str
    """What ended it, in a few words; empty if nothing failed."""
    progress: float
    """How long it made progress, in seconds: the rest is lost, also what it only repeated."""


class Event(Record):
    """What happened to a rank, an attempt or the run, as `run` passes it to ``on_event``."""

    kind: str
    """``started`` or ``ended`` for a rank; ``attempt`` for the end of all ranks, if they may be started again;
    ``stalled`` when the run stands still, and ``moves`` when it moves again."""
    rank: int
    """Its global rank; of a standstill that of the rank to blame; -1 for an attempt, and when the run moves again."""
    local_rank: int
    """Its rank on this machine; -1 if it isn't on this machine, and for an attempt."""
    pid: int
    """Its process id; 0 if it isn't on this machine, and for an attempt."""
    ending: Ending | None = None
    """How it ended; None for any other event."""
    stall: Stall | None = None
    """The standstill, with what each rank does: in a run that it ends, the ranks are gone soon. None for any other
    event."""
    attempt: AttemptReport | None = None
    """The attempt that ended; None for any other event."""


class Line(Record):
    """A line that a rank printed, as `launch` and `run` pass it to ``on_line``."""

    rank: int
    """The rank's global rank."""
    stream: str
    """``stdout`` or ``stderr``."""
    text: str
    """The line, without its end. One of more than 64 KiB comes in parts."""


class Failure(Record):
    """The rank that failed first, and what is known about its failure."""

    ending: Ending
    """How it ended."""
    device: str | None
    """Its device in words, such as ``GPU 1``; None if it had none."""
    cause: str
    """Why it ended, in words, such as ``exit status 1``."""
    at: float = 0.0
    """When it failed, in seconds since the epoch: when it raised its exception, else when it ended."""
    label: str = ""
    """What failed if it wasn't a rank, such as ``worker 3``; empty for a rank."""
    exception: str = ""
    """Type and whole message of the exception that ended it; empty if its status and output don't confirm one."""
    where: str = ""
    """``FILE:LINE`` of the exception in the user's code; empty if unknown."""
    traceback: str = ""
    """The traceback of that exception; empty if there is none."""
    last_line: str = ""
    """The last line of its standard error, if no exception is known to have ended it."""
    log: str | None = None
    """The folder of its log files; None if no logs are kept."""
    host: str = ""
    """The name of its host; empty for the launcher's own host."""
    machine: int | None = None
    """The rank of its machine in a run over several machines, else None."""


class Raised(Record):
    """An exception that ended a rank of this machine after another rank had failed."""

    rank: int
    """The rank."""
    exception: str
    """Type and whole message."""
    traceback: str
    """Its traceback."""


class Result(Record):
    """How a run ended. A script that fails is a result, not an exception."""

    status: int
    """The exit status that `accelerate launch` would have: 0 to 255."""
    signal: int = 0
    """The number of the signal to the launcher that ended the run, SIGTERM for a cancelled run; else 0."""
    at: float | None = None
    """When the run was ended, in seconds since the epoch, if no rank's failure ended it; else None."""
    failure: Failure | None = None
    """The rank that failed first; None if none did, or if a signal or a ``timeout`` of `launch` ended the run."""
    also_raised: tuple[Raised, ...] = ()
    """The exceptions of other ranks of this machine that ended by one, mostly as a result of the failure."""
    endings: tuple[Ending, ...] = ()
    """How each rank of this machine, or of all ``--hosts``, ended in the last attempt, in the order of their ends."""
    earlier: tuple[tuple[Ending, ...], ...] = ()
    """How the ranks of each earlier attempt ended."""
    problems: tuple[str, ...] = ()
    """What went wrong in the launcher, one message each, such as a rank that couldn't be started."""
    notes: tuple[str, ...] = ()
    """Notes to print at the end of the run."""
    printed: tuple[str, ...] = ()
    """Notes that were printed during the run."""
    stalls: tuple[Stall, ...] = ()
    """When the run stood still, and what each rank did then."""
    stacks: tuple[Mapping[str, Any], ...] = ()
    """What ranks did when they outstayed the grace, or when the run was ended for another reason than a failure, such
    as the ``timeout`` of `launch`."""
    collective_timeout: Timeout | None = None
    """The wait of ranks for another one that torch gave up, if the run failed by that; else None. What `launch` calls
    ``timeout`` has nothing to do with it: a run that took longer has the status 124."""
    outcomes: tuple[tuple[str, str], ...] = ()
    """The label of each labelled command, such as a pod's worker, and how it ended in words, in the plan's order."""
    differences: tuple[Difference, ...] = ()
    """What isn't the same on all machines of the run, on its main machine."""
    network: tuple[Mapping[str, Any], ...] = ()
    """What ``--check_network`` has measured: a mapping for each direction of each link between the machines."""
    attempts: tuple[AttemptReport, ...] = ()
    """Each attempt, the last one too; empty where another launcher, such as torch's agent, restarts the ranks."""
    cpus: tuple[str, ...] = ()
    """The CPUs that each local rank of this machine was bound to, such as ``0-3,8``; empty where none was."""
    elsewhere: Mapping[str, Any] = {}
    """What the launchers of all ``--hosts`` report instead of this one, as in JSON; ``lines`` are for the text."""
    not_again: str = ""
    """Why a run that may be started again wasn't after its last failure; empty otherwise."""

    @property
    def later(self) -> bool:
        """Whether the script asks to be queued again: ranks exited with 75, and none failed."""
        return self.status == LATER and self.failure is None and not self.problems

    @property
    def progress(self) -> float | None:
        """The share of the run's time in which it made progress; None if that isn't known."""
        if not self.attempts:
            return None
        took = self.attempts[-1].ended - self.attempts[0].began
        return min(1.0, sum(attempt.progress for attempt in self.attempts) / took) if took > 0 else 1.0


def signal_name(number: int) -> str:
    """Return a signal's name, such as ``SIGKILL``."""
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
