"""How a run ended: one status, and for a failure which rank, why, and where in the user's code."""

from __future__ import annotations

import os
import signal
import time

from accel_config.record import Record

from .devices import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .plan import Plan

READER_GONE = 141  # 128 + SIGPIPE
NOTED = 0.5  # seconds by which a death may be noted later than its peers complain of it


class Ending(Record):
    """How one rank ended."""

    rank: int
    local_rank: int
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


class Event(Record):
    """A rank that started or ended."""

    kind: str
    """``started`` or ``ended``."""
    rank: int
    local_rank: int
    pid: int
    ending: Ending | None = None
    """How it ended."""


class Failure(Record):
    """The first rank that failed, and what is known of it."""

    ending: Ending
    device: str | None
    cause: str
    at: float = 0.0
    """When, in seconds since the epoch: that of its exception, else of its death."""
    label: str = ""
    """What failed, where it is no rank."""
    exception: str = ""
    """Type and message of the exception, where the rank left one."""
    where: str = ""
    """``file:line`` in the user's code."""
    traceback: str = ""
    log: str | None = None
    """Folder of its log files."""
    host: str = ""
    """Where it was, if it was another host."""
    machine: int | None = None
    """Rank of that machine, in a run over several."""


class Result(Record):
    """How a run ended. A failing script is a result, not an exception."""

    status: int
    """The exit status that the launcher's contract gives."""
    signal: int = 0
    """The signal to us that ended the run, or 0."""
    at: float | None = None
    """When it was ended or failed, in seconds since the epoch, where no rank did; None where that isn't known."""
    failure: Failure | None = None
    endings: tuple[Ending, ...] = ()
    """How each rank ended, in the order of their deaths; of the last attempt, where there were several."""
    earlier: tuple[tuple[Ending, ...], ...] = ()
    """The same of the attempts before it."""
    problems: tuple[str, ...] = ()
    """What went wrong on our side: a rank that couldn't be started, a guardian that was killed."""
    notes: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    """Notes that were printed when their time came."""
    outcomes: tuple[tuple[str, str], ...] = ()
    """Each labelled command with how it ended, in the plan's order."""


class Seen(Record):
    """What the supervisor saw of a run."""

    endings: tuple[Ending, ...]
    earlier: tuple[tuple[Ending, ...], ...]
    """Those of attempts before the last one."""
    engine: Ending | None
    """How the engine ended that hosts the ranks, where there is one."""
    signalled: int
    asked: float | None
    """When the signal came, the reader went away or the guardian died, in seconds since the epoch."""
    reader_gone: bool
    """Whether nobody takes our output any more."""
    guardian: int
    """Wait status of a guardian that didn't finish its work, else 0."""
    unstarted: tuple[str, ...]
    notes: tuple[str, ...]
    tail: Callable[[int], str]
    """The end of a local rank's standard error; of the engine's words for -1."""
    cried: Callable[[int], float]
    """When a local rank's last traceback began; 0 where there was none."""
    error: Callable[[int], str]
    """What a local rank left by torch's error-file protocol."""
    log: Callable[[int], str | None]
    """The folder of a local rank's log files."""
    killed_for_memory: bool
    unwritable: tuple[str, ...] = ()
    """Which of our own standard streams can't be written any more, and why: the run was ended because of it."""
    said: tuple[str, ...] = ()
    """Notes that were printed when their time came."""


def judge(plan: Plan, seen: Seen) -> Result:
    """Turn what was seen into one status, and the first failure into words."""
    first = next((ending for ending in seen.endings if ending.status), None)
    if seen.engine is not None and seen.engine.status == 0:
        first = None  # an engine that started failed ranks again, and then all went well
    problems = [*seen.unstarted, *seen.unwritable]
    if first is not None and seen.engine is not None and _killed(seen.engine, first, seen):
        why = _cause(seen.engine, seen.killed_for_memory)
        problems.append(f"{plan.engine} was killed, and with it its ranks were ended: {why}")
        first = seen.engine
    root = _root(first, seen) if first is not None and first is not seen.engine else None
    if seen.guardian:
        problems.append(f"the launcher's guardian process was {_guardian(seen.guardian)}; every rank was ended")
    failing = first is not None and not (seen.signalled or seen.reader_gone or seen.guardian)
    if first is None and seen.engine is not None and seen.engine.status and not seen.signalled:
        problems.append(
            f"{plan.engine} failed, and no rank that we follow did: {seen.engine.how}\n{seen.tail(-1)}".rstrip()
        )
    return Result(
        status=_status(first or seen.engine, seen),
        signal=seen.signalled,
        at=_when(seen),
        failure=_failure(plan, root, seen) if root is not None and failing else None,
        endings=seen.endings,
        problems=tuple(problems),
        earlier=seen.earlier,
        notes=(*seen.notes, *map(_attempt, range(len(seen.earlier)), seen.earlier)),
        said=seen.said,
        outcomes=_outcomes(plan, seen),
    )


def _killed(engine: Ending, first: Ending, seen: Seen) -> bool:
    """Whether the engine was killed before the ``first`` rank failed, which then only was ended with it."""
    asked = seen.signalled or seen.reader_gone or seen.guardian or seen.unwritable
    return bool(engine.signal) and not asked and engine.at <= first.at


def _when(seen: Seen) -> float | None:
    if seen.asked is None:
        return seen.engine.at if seen.engine is not None else None
    return seen.asked - (NOTED if seen.guardian else 0)  # its ranks died with it


def _attempt(number: int, endings: tuple[Ending, ...]) -> str:
    """Return what ended an attempt after which the engine started its ranks again."""
    first = next((ending for ending in endings if ending.status), None)
    why = f"rank {first.rank}: {first.how}" if first is not None else "no rank here failed"
    when = f" at {_clock(endings[-1].at)}" if endings else ""
    return f"attempt {number} ended{when} ({why}), and the ranks were started again"


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _root(first: Ending, seen: Seen) -> Ending:
    """Return the rank that failed first where the first to die is only its victim.

    A rank that raises dies late: while it still cleans up, its peers lose their connections to it, raise as well, and
    may be gone before it. So among ranks that end by an uncaught exception the first to raise is it. The status is
    the same, Python's 1.
    """
    if first.code != 1:
        return first
    when = {ending: raised for ending in seen.endings if (raised := _raised(ending, seen))}
    before = [ending for ending, raised in when.items() if raised <= first.at]
    return min(before, key=lambda ending: when[ending], default=first)


def _raised(ending: Ending, seen: Seen) -> float:
    """Return when a rank raised the exception that it ended by; 0 where it ended otherwise."""
    ended = (1, 128 + signal.SIGTERM)  # it may have been ended, as were all, while it cleaned up
    raised = seen.cried(ending.local_rank)
    near = max(ending.at - CLEANING, _begun(seen)) < raised <= ending.at
    return raised if near and ending.code in ended and _uncaught(seen.tail(ending.local_rank)) else 0.0


def _outcomes(plan: Plan, seen: Seen) -> tuple[tuple[str, str], ...]:
    ended = {ending.local_rank: ending for ending in seen.endings}
    return tuple(
        (command.label, _outcome(ended.get(place), _told(seen.error(place))[0]))
        for place, command in enumerate(plan.commands)
        if command.label
    )


def _outcome(ending: Ending | None, told: str) -> str:
    if ending is None:
        return "not started"
    how = ending.how if ending.status else "ok"
    return f"{how}: {told}" if told else how


def _status(first: Ending | None, seen: Seen) -> int:
    if seen.signalled:
        return 128 + seen.signalled
    if seen.unwritable:
        return 1
    if seen.reader_gone:
        return READER_GONE
    if seen.guardian:
        guardian = seen.guardian
        return os.waitstatus_to_exitcode(guardian) if os.WIFEXITED(guardian) else 128 + os.WTERMSIG(guardian)
    if first is not None and first.status:
        return first.code
    return 0 if seen.endings or first is not None else 1


def _guardian(status: int) -> str:
    return f"ended by {name_of(os.WTERMSIG(status))}" if os.WIFSIGNALED(status) else "broken"


def name_of(number: int) -> str:
    """Return a signal's name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _failure(plan: Plan, ending: Ending, seen: Seen) -> Failure:
    local = ending.local_rank
    told, stack = _told(seen.error(local))
    old = seen.cried(local) <= _begun(seen)  # what it said belongs to another attempt
    text = _plain(stack or ("" if old else seen.tail(local)))
    exception, where = _traceback(text)
    raised = _raised(ending, seen)
    return Failure(
        ending=ending,
        device=plan.devices[local] if local < len(plan.devices) else None,
        cause=UNCAUGHT if raised and ending.signal else _cause(ending, seen.killed_for_memory),
        at=raised or ending.at,
        label=plan.commands[local].label if local < len(plan.commands) else "",
        exception=told or exception,
        where=where,
        traceback=text[text.rfind(HEAD) :] if HEAD in text else "",
        log=seen.log(local),
    )


def _cause(ending: Ending, killed_for_memory: bool) -> str:
    if ending.signal == signal.SIGKILL:
        if killed_for_memory:
            return f"{ending.how}: out of memory, by the counters of its cgroup"
        return f"{ending.how}: sent by another process, or by the kernel for want of memory"
    if ending.signal in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT):
        return f"{ending.how}: it crashed in native code"
    return ending.how


def _begun(seen: Seen) -> float:
    """Return when the last attempt can have begun at the earliest."""
    return max((ending.at for attempt in seen.earlier for ending in attempt), default=-1.0)


UNCAUGHT = "an uncaught exception; it was ended while it cleaned up"
CLEANING = 30.0  # seconds that a rank may take from its exception to its death


def _uncaught(text: str) -> bool:
    """Whether a text ends with a traceback, but for what libraries warn of at the exit."""
    rest = _plain(text).rpartition(HEAD)[2].splitlines()
    after = next((place for place, line in enumerate(rest) if line and not line.startswith(" ")), len(rest))
    return HEAD in text and all(
        not line.strip() or line.startswith("[W") or "Warning" in line for line in rest[after + 1 :]
    )


def _plain(text: str) -> str:
    """Return a rank's words without the mark that torch puts before each line of its last traceback."""
    return "\n".join(_unmarked(line) for line in text.splitlines())


def _unmarked(line: str) -> str:
    mark, bracket, rest = line.partition("]:")
    return rest.removeprefix(" ") if bracket and mark.startswith("[rank") and mark[5:].isdecimal() else line


HEAD = "Traceback (most recent call last):"
PLACE = '  File "'
UNCOMPILED = ("SyntaxError: ", "IndentationError: ", "TabError: ")


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
        return _uncompiled(text)
    frames: list[str] = []
    for line in text[start:].splitlines()[1:]:
        if line.startswith(PLACE):
            frames.append(_place(line))
        elif line and not line.startswith(" "):
            own = [frame for frame in frames if not _foreign(frame)]
            return line, (own or frames or [""])[-1]
    return "", ""


def _uncompiled(text: str) -> tuple[str, str]:
    """Return the same of a script that can't be compiled, which has no traceback."""
    place, *rest = text[text.rfind(PLACE) :].splitlines() if PLACE in text else [""]
    error = next((line for line in rest if not line.startswith(" ")), "")
    return (error, _place(place)) if error.startswith(UNCOMPILED) else ("", "")


def _place(line: str) -> str:
    path, _, rest = line[len(PLACE) :].partition('", line ')
    return f"{path}:{rest.partition(',')[0]}"


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


def text(result: Result, host: str, *, whole: bool = False) -> str:
    """Return the report of a failure, for standard error; nothing where there is none to report.

    ``whole`` adds the traceback (``--debug``).
    """
    lines = [f"accel: {problem}" for problem in result.problems]
    failure = result.failure
    if failure is not None:
        ending = failure.ending
        lines.append(f"accel: {failure.label or _rank(failure, host)} failed first")
        lines.append(f"  cause: {failure.cause}")
        if failure.exception:
            lines.append(f"  exception: {failure.exception.splitlines()[0][:300]}")
        if failure.where:
            lines.append(f"  at: {failure.where}")
        lines.append(f"  time: {_clock(failure.at or ending.at)}")
        if failure.log:
            lines.append(f"  log: {failure.log}")
        ended = result.endings if not failure.label else ()
        others = sorted(other.rank for other in ended if other.status and other is not ending)
        if others:
            lines.append(f"  ended because of it: {'rank' if len(others) == 1 else 'ranks'} {spans(others)}")
        if whole and failure.traceback:
            lines += ["", failure.traceback.rstrip()]
    return "".join(line + "\n" for line in [*lines, *_table(result.outcomes)])


def _rank(failure: Failure, host: str) -> str:
    ending = failure.ending
    device = f", {failure.device}" if failure.device else ""
    machine = f"machine {failure.machine}, " if failure.machine is not None else ""
    where = f"pid {ending.pid}, host {failure.host or host}{device}"
    return f"rank {ending.rank} ({machine}local rank {ending.local_rank}, {where})"


def _table(outcomes: tuple[tuple[str, str], ...]) -> list[str]:
    wide = max((len(label) for label, _outcome in outcomes), default=0)
    return [f"accel: {label:<{wide}}  {outcome}" for label, outcome in outcomes]


def spans(numbers: list[int]) -> str:
    """Return sorted numbers in few words: ``0-2, 5``."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in found)


def as_json(result: Result, host: str) -> str:
    """Return the whole result as JSON, in the form that ``docs/launch.md`` describes."""
    import json

    failure = result.failure
    told = None
    if failure is not None:
        told = {
            **_ending(failure.ending),
            "host": failure.host or host,
            "machine": failure.machine,
            "device": failure.device,
            "label": failure.label or None,
            "cause": failure.cause,
            "exception": failure.exception or None,
            "where": failure.where or None,
            "traceback": failure.traceback or None,
            "log": failure.log,
        }
    whole = {
        "status": result.status,
        "signal": name_of(result.signal) if result.signal else None,
        "failure": told,
        "ranks": [_ending(ending) for ending in result.endings],
        "earlier_attempts": [[_ending(ending) for ending in attempt] for attempt in result.earlier],
        "problems": list(result.problems),
        "notes": [*result.said, *result.notes],
        "outcomes": dict(result.outcomes),
    }
    return json.dumps(whole, indent=2) + "\n"


def _ending(ending: Ending) -> dict[str, object]:
    return {
        "rank": ending.rank,
        "local_rank": ending.local_rank,
        "pid": ending.pid,
        "exit_status": None if ending.signal else ending.code,
        "signal": name_of(ending.signal) if ending.signal else None,
        "time": ending.at,
    }


def save(result: Result, host: str, path: str) -> None:
    """Write the result as JSON to ``path``, whole or not at all.

    Raises:
        OSError: the file can't be written.
    """
    whole = os.path.abspath(os.path.expanduser(path))
    part = f"{whole}.{os.getpid()}.part"
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.write(as_json(result, host))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, whole)
    except OSError:
        if os.path.exists(part):
            os.unlink(part)
        raise
