"""How a run ended: one status, and for a failure which rank, why, and where in the user's code."""

from __future__ import annotations

import os
import signal
import time

from accel_config.record import Record

from .devices import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .plan import Plan

READER_GONE = 141  # 128 + SIGPIPE


class Ending(Record):
    """How one rank ended."""

    rank: int
    pid: int
    status: int
    """As `os.waitpid` gives it."""
    at: float
    """Seconds since the epoch."""

    @property
    def signal(self) -> int:
        """The signal that ended it, or 0."""
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else 0

    @property
    def code(self) -> int:
        """As a shell gives it: its exit status, or 128 and the signal."""
        return 128 + self.signal if self.signal else os.waitstatus_to_exitcode(self.status)

    @property
    def how(self) -> str:
        """In words."""
        return f"ended by {name_of(self.signal)}" if self.signal else f"exit status {self.code}"


class Failure(Record):
    """The first rank that failed, and what is known of it."""

    ending: Ending
    local_rank: int | None
    device: str | None
    cause: str
    exception: str = ""
    """Type and message of the exception, where the rank left one."""
    where: str = ""
    """``file:line`` in the user's code."""
    traceback: str = ""


class Result(Record):
    """How a run ended. A failing script is a result, not an exception."""

    status: int
    """The exit status that the launcher's contract gives."""
    signal: int = 0
    """The signal to us that ended the run, or 0."""
    failure: Failure | None = None
    endings: tuple[Ending, ...] = ()
    """How each rank ended, in the order of their deaths."""
    problems: tuple[str, ...] = ()
    """What went wrong on our side: a rank that couldn't be started, a guardian that was killed."""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(  # noqa: PLR0913
        cls,
        *,
        plan: Plan,
        endings: tuple[Ending, ...],
        signalled: int,
        reader_gone: bool,
        guardian: int,
        unstarted: tuple[str, ...],
        notes: tuple[str, ...],
        tails: dict[int, str],
        errors: dict[int, str],
        killed_for_memory: bool,
    ) -> Result:
        """Judge what was seen."""
        first = next((ending for ending in endings if ending.status), None)
        failure = None
        if first is not None and not signalled and not reader_gone and not guardian:
            failure = _failure(plan, first, tails.get(first.rank, ""), errors.get(first.rank, ""), killed_for_memory)
        problems = list(unstarted)
        if guardian:
            problems.append(f"the launcher's guardian process was {_guardian(guardian)}; every rank was ended")
        return cls(
            status=_status(first, signalled, reader_gone, guardian, started=bool(endings)),
            signal=signalled,
            failure=failure,
            endings=endings,
            problems=tuple(problems),
            notes=notes,
        )


def _status(first: Ending | None, signalled: int, reader_gone: bool, guardian: int, *, started: bool) -> int:
    if signalled:
        return 128 + signalled
    if reader_gone:
        return READER_GONE
    if guardian:
        return os.waitstatus_to_exitcode(guardian) if os.WIFEXITED(guardian) else 128 + os.WTERMSIG(guardian)
    if first is not None:
        return first.code
    return 0 if started else 1


def _guardian(status: int) -> str:
    return f"ended by {name_of(os.WTERMSIG(status))}" if os.WIFSIGNALED(status) else "broken"


def name_of(number: int) -> str:
    """Return a signal's name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _failure(plan: Plan, ending: Ending, tail: str, error: str, killed_for_memory: bool) -> Failure:
    command = next((one for one in plan.commands if one.rank == ending.rank), plan.commands[0])
    told, text = _told(error)
    text = text or tail
    exception, where = _traceback(text)
    return Failure(
        ending=ending,
        local_rank=command.local_rank,
        device=command.device,
        cause=_cause(ending, killed_for_memory),
        exception=told or exception,
        where=where,
        traceback=text[text.rfind(HEAD) :] if HEAD in text else "",
    )


def _cause(ending: Ending, killed_for_memory: bool) -> str:
    if ending.signal == signal.SIGKILL:
        if killed_for_memory:
            return f"{ending.how}: out of memory, by the counters of its cgroup"
        return f"{ending.how}: sent by another process, or by the kernel for want of memory"
    if ending.signal in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT):
        return f"{ending.how}: it crashed in native code"
    return ending.how


HEAD = "Traceback (most recent call last):"


def _told(error: str) -> tuple[str, str]:
    """Return exception and traceback from the file of torch's error protocol."""
    if not error:
        return "", ""
    import json

    try:
        message: Any = json.loads(error)["message"]
    except (ValueError, KeyError, TypeError):
        return "", ""
    if isinstance(message, str):
        return message, ""
    if not isinstance(message, dict):
        return "", ""
    extra: Any = message.get("extraInfo")  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    stack = extra.get("py_callstack", "") if isinstance(extra, dict) else ""  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return str(message.get("message", "")), str(stack)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]


def _traceback(text: str) -> tuple[str, str]:
    """Return the exception and the deepest ``file:line`` of the user's own code from the last traceback in a text."""
    start = text.rfind(HEAD)
    if start < 0:
        return "", ""
    frames: list[str] = []
    for line in text[start:].splitlines()[1:]:
        if line.startswith('  File "'):
            path, _, rest = line[8:].partition('", line ')
            frames.append(f"{path}:{rest.partition(',')[0]}")
        elif line and not line.startswith(" "):
            own = [frame for frame in frames if not _foreign(frame)]
            return line, (own or frames or [""])[-1]
    return "", ""


def _foreign(frame: str) -> bool:
    return any(part in frame for part in ("/site-packages/", "/dist-packages/", "<frozen", "/lib/python3"))


def memory_kills() -> int:
    """Return how often the kernel killed a process of our cgroup for want of memory, of either version of cgroups."""
    total = 0
    for line in read("/proc/self/cgroup").splitlines():
        _number, controllers, path = line.split(":", 2)
        if not controllers:
            text = read(f"/sys/fs/cgroup{path}", "memory.events") or read("/sys/fs/cgroup", "memory.events")
        elif "memory" in controllers.split(","):
            text = read(f"/sys/fs/cgroup/memory{path}", "memory.oom_control") or read(
                "/sys/fs/cgroup/memory", "memory.oom_control"
            )
        else:
            continue
        words = text.split()
        total += int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0
    return total


def text(result: Result, host: str) -> str:
    """Return the report of a failure, for standard error; nothing where there is none to report."""
    lines = [f"accel: {problem}" for problem in result.problems]
    failure = result.failure
    if failure is not None:
        ending = failure.ending
        place = f"rank {ending.rank} (local rank {failure.local_rank}, pid {ending.pid}, host {host}"
        lines.append(f"accel: {place}{', ' + failure.device if failure.device else ''}) failed first")
        lines.append(f"  cause: {failure.cause}")
        if failure.exception:
            lines.append(f"  exception: {failure.exception.splitlines()[0][:300]}")
        if failure.where:
            lines.append(f"  at: {failure.where}")
        lines.append(f"  time: {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(ending.at))}")
        others = [str(other.rank) for other in result.endings if other.status and other is not ending]
        if others:
            lines.append(f"  ended because of it: rank {', '.join(others)}")
    return "".join(line + "\n" for line in lines)
