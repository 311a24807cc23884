"""Decides after each attempt that failed whether the run is started again, when, and why."""

from __future__ import annotations

import builtins
import os
import re

from accel_config.checking.restarts import ALWAYS, read_policy
from accel_config.errors import LATER, USAGE
from accel_config.record import Record
from accel_launch.running.report import causes
from accel_launch.running.restarting import backoff
from accel_launch.running.restarting.cause import EXCEPTION, STATUS, Cause, cause_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.report.records import Result
    from accel_launch.running.restarting.progress import Progress

OLDER, LONGER = (
    1.5,
    10.0,
)  # an attempt is further if it lived so many times, and by so many seconds, as long as others
REMEMBERED = 100  # causes, and attempts with each: a run may be started again for weeks
LEAST, MOST = 10.0, 60.0  # seconds in which a missing file may appear
DOUBTFUL = 6  # times that only text says that the same failure may pass, or came after progress: a minute of back-off
SHORT = 60.0  # seconds of an attempt after which text is believed that shows progress
WAY_OUT = "--restart_policy always starts it again all the same"
SYNTAX = ("SyntaxError", "IndentationError", "TabError")
IMPORTS = ("ImportError", "ModuleNotFoundError")
QUIT = "BdbQuit"
QUEUED = f"the script asks to be queued again (exit status {LATER}): not started again"
USAGES = {USAGE: "a usage error", 126: "a program that can't be executed", 127: "a program that isn't there"}
DEVICE = re.compile(
    r"(?:\w+\.)*OutOfMemoryError\b"
    r"|.*(?i:\b(?:cuda|hip|xpu|mps|npu|hpu|nccl)\b.{0,200}out of memory)"
    r"|.*(?:RESOURCE_EXHAUSTED|(?:CUBLAS|CUDNN)_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation)"
)
UNFOUND = re.compile(r".*: (?:No module named |can't find '__main__' module in |Error while finding module )")
"""What Python itself prints, with status 1, if there is no such script or module."""


class Attempt(Record):
    """One attempt of a run, which has ended."""

    number: int
    """Its number, from 0."""
    began: float
    """When it began, in seconds since the epoch."""
    ended: float
    """When it ended, in seconds since the epoch."""
    result: Result
    """How it ended."""
    progress: Progress | None = None
    """How far it came; None if nothing shows it."""

    @property
    def age(self) -> float:
        """How long it lived, in seconds."""
        return max(0.0, self.ended - self.began)


class Verdict(Record):
    """Whether the run is started again."""

    again: bool
    delay: float = 0.0
    """How many seconds to wait before."""
    why: str = ""
    """The reason in a few words, for the line about the restart or its refusal; empty if no rank failed."""
    awaited: str = ""
    """A file whose appearance ends the wait."""

    @property
    def ready(self) -> bool:
        """Whether the wait can end early: the awaited file is there."""
        return bool(self.awaited) and os.path.exists(self.awaited)


class Judge:
    """Remembers the attempts of one run."""

    def __init__(self, policy: str, max_restarts: int) -> None:
        """Take the setting ``restart_policy``, and how often the run may be started again."""
        self.policy, self.never = read_policy(policy)
        self.left = self.most = max_restarts
        self.causes: dict[Cause, list[float]] = {}
        """The causes since the last progress, each with the ages of the attempts that it ended."""
        self.furthest: Progress | None = None
        self.oldest: float | None = None
        """The longest age of an attempt; None before the first."""
        self.passing = 0
        """How many attempts in a row have failed of their surroundings."""
        self.doubtful: dict[Cause, int] = {}
        """How many attempts each cause has ended that came further only as far as text says."""

    def after(self, attempt: Attempt) -> Verdict:
        """Judge an attempt that has ended."""
        cause = cause_of(attempt.result)
        if cause is None:
            return Verdict(again=False, why=QUEUED if attempt.result.later else "")
        if self._further(attempt) and self._believed(attempt, cause):
            self.causes.clear()
            self.passing = 0
        for known in (self.causes, self.doubtful):
            while len(known) >= REMEMBERED:
                del known[next(iter(known))]
        ages = self.causes.setdefault(cause, [])
        del ages[:-REMEMBERED]
        times = 1 + sum(not cause.outside or alike(age, attempt.age) for age in ages)
        ages.append(attempt.age)
        said = _said(attempt.result)
        around = backoff.surroundings(said)
        self.passing = self.passing + 1 if around else 0
        sure = around and cause.kind != STATUS and backoff.certain(said)
        refusal = self._refusal(cause, said, 1 if sure or (around and times <= DOUBTFUL) else times)
        if refusal:
            way_out = f"; {WAY_OUT}" if self.left else ""
            return Verdict(again=False, why=f"{refusal}: not started again{way_out}")
        if not self.left:
            used = f"all {self.most} restarts are used" if self.most > 1 else "the only restart is used"
            return Verdict(again=False, why=f"{used}: not started again" if self.most else "")
        self.left -= 1
        told = causes.cause(attempt.result)
        if around:
            return Verdict(again=True, delay=backoff.delay(self.passing), why=f"{told} ({around}, which may pass)")
        if cause.missing and self.policy != ALWAYS and not os.path.exists(cause.missing):
            why = f"{told} (the file may still appear)"
            return Verdict(again=True, delay=self._patience(), why=why, awaited=cause.missing)
        return Verdict(again=True, why=told)

    def _further(self, attempt: Attempt) -> bool:
        """Return whether an attempt came further than all before; note how far it came."""
        age, progress = attempt.age, attempt.progress
        before = self.oldest
        older = before is not None and age > max(OLDER * before, before + LONGER)
        self.oldest = age if before is None else max(before, age)
        if progress is None:
            # An attempt that shows no step, where others did, hasn't come to one.
            return older and self.furthest is None
        if self.furthest is None:
            self.furthest = progress
            return before is not None
        beyond = progress.beyond(self.furthest)
        if beyond:
            self.furthest = progress
        return older if beyond is None else beyond

    def _believed(self, attempt: Attempt, cause: Cause) -> bool:
        """Return whether progress is believed: a number in the output may count something else, such as seconds."""
        shown = attempt.progress
        if shown is None or shown.told or attempt.age >= SHORT:
            self.doubtful.clear()
            return True
        self.doubtful[cause] = self.doubtful.get(cause, 0) + 1
        return self.doubtful[cause] <= DOUBTFUL

    def _refusal(self, cause: Cause, said: str, times: int) -> str:
        """Return why the run isn't started again, whatever restarts are left; empty if it may be."""
        if self.policy == ALWAYS:
            return ""
        place = f", at {cause.where}" if cause.where else ""
        if self._excluded(cause):
            return f"{cause.what} is in restart_policy never-on{place}"
        hopeless = _hopeless(cause, said)
        if hopeless:
            return hopeless + place
        if times > 1:
            return f"the same failure in {times} attempts" + (place or f", {cause.what}")
        return ""

    def _excluded(self, cause: Cause) -> bool:
        """Return whether the policy names the cause, or a built-in exception that it is one of."""
        kind = getattr(builtins, cause.what, None)
        names = {one.__name__ for one in kind.__mro__} if isinstance(kind, type) else {cause.what}
        return any(name.rpartition(".")[2] in names for name in self.never)

    def _patience(self) -> float:
        """Return how long a missing file is waited for: as long as the back-off of all restarts, within limits."""
        return min(MOST, max(LEAST, sum(backoff.delay(number) for number in range(1, min(self.most, 10) + 1))))


def alike(one: float, other: float) -> bool:
    """Return whether two attempts ended at about the same age."""
    return abs(one - other) <= LONGER or max(one, other) <= OLDER * min(one, other)


def _hopeless(cause: Cause, said: str) -> str:
    """Return what is wrong if another attempt can't help; empty if it may."""
    if cause.kind == STATUS:
        status = int(cause.what.rpartition(" ")[2])
        if status in USAGES:
            return f"{USAGES[status]} ({cause.what})"
        return "a missing script or module" if UNFOUND.match(said) else ""
    if cause.kind != EXCEPTION:
        return ""
    if cause.what in SYNTAX:
        return f"a syntax error ({cause.what})"
    if cause.what == QUIT:
        return f"somebody has left the debugger ({QUIT})"
    if cause.what in IMPORTS:
        return f"an import that fails ({cause.what})"
    return "the device is out of memory, as it would be again" if DEVICE.match(said) else ""


def _said(result: Result) -> str:
    """Return what ended the run, in its own words."""
    failure = result.failure
    if failure is None or failure.ending.signal:
        return failure.exception if failure is not None else ""
    return failure.exception or failure.last_line
