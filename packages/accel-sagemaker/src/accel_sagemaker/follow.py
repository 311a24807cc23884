"""Seeing a job through: its status and its logs as they come, and the exit status that it stands for."""

from __future__ import annotations

import os
import re
import signal
import sys
import time

from accel_launch import Result

from .refusals import Refusal
from .submission import submit
from .training import TrainingJob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .request import JobRequest
    from .training import State

STOPPED = 130
READER_GONE = 141
PATIENCE = 20
"""Looks in a row that may fail for want of network or for too many requests before we give up."""
LAST_LOOKS = 2
"""Looks at the logs after the job's end: they arrive some seconds late."""
_STATUS = re.compile(r"ExitCode (-?\d+)")


def see_through(request: JobRequest) -> Result:
    """Submit the job and, unless it is not to be waited for, follow it to its end.

    Raises:
        AccelError: the job can't be submitted.
    """
    submitted = submit(request)
    if not request.wait:
        print(submitted.name, submitted.console, sep="\n", flush=True)
        return Result(0)
    _say(f"job {submitted.name} is submitted: {submitted.console}")
    return follow(TrainingJob(submitted.name, submitted.region, request.credentials), request.poll)


def follow(job: TrainingJob, poll: float) -> Result:
    """Show the job's status and logs until it ends; looking on ends early only by Ctrl-C or for want of access."""
    follower = _Follower(job, poll)
    while True:
        try:
            return follower.to_the_end()
        except KeyboardInterrupt:
            answer = _ask()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would trip over it again when it exits
            return Result(READER_GONE, problems=(f"nobody reads the logs any more; {_goes_on(job)}",))
        except Refusal as error:
            return Result(error.status, problems=(f"{error}; {_goes_on(job)}",))
        if answer == "leave":
            return Result(STOPPED, signal=signal.SIGINT, problems=(_goes_on(job),))
        if answer == "stop":
            _stop(job)


def judge(job: TrainingJob, state: State) -> Result:
    """Return the result that the state of a job that has ended stands for."""
    ending = f"job {job.name} {_ending(state)} after {state.elapsed}"
    if state.status == "Completed":
        return Result(0, notes=(ending + (f"; model: {state.model}" if state.model else ""),))
    if state.status == "Failed":
        return Result(_status(state.reason), problems=(f"{ending}: {state.reason or 'SageMaker gives no reason'}",))
    return Result(1 if state.out_of_time else STOPPED, problems=(ending,))


def _ending(state: State) -> str:
    return "ran out of time" if state.out_of_time else state.status.lower()


def _status(reason: str) -> int:
    """Return the script's exit status from the reason of a failure, 1 where it isn't told."""
    found = _STATUS.search(reason)
    code = int(found.group(1)) if found else 1
    code = 128 - code if code < 0 else code
    return code if 0 < code < 256 else 1  # noqa: PLR2004


class _Follower:
    """What has been shown of a job."""

    def __init__(self, job: TrainingJob, poll: float) -> None:
        self.job, self.poll = job, poll
        self.transitions = 0
        self.said: set[str] = set()
        self.failed = 0

    def to_the_end(self) -> Result:
        """Show what comes until the job has ended; return how."""
        while True:
            state = self.look()
            if state is not None:
                self.show(state)
                if state.over:
                    for _look in range(LAST_LOOKS):
                        time.sleep(self.poll)
                        self.show_logs(state)
                    return judge(self.job, state)
            time.sleep(self.poll)

    def look(self) -> State | None:
        """Return the job's state; None where the service or the network can't be asked just now."""
        try:
            state = self.job.describe()
        except Refusal as error:
            self.failed += 1
            if not error.passing or self.failed > PATIENCE:
                raise
            self.note(str(error))
            return None
        self.failed = 0
        return state

    def show(self, state: State) -> None:
        """Show the statuses that are new, then the lines that are."""
        for status, message in state.transitions[self.transitions :]:
            _say(f"[{state.elapsed}] {status}{': ' + message if message else ''}")
        self.transitions = max(self.transitions, len(state.transitions))
        self.show_logs(state)

    def show_logs(self, state: State) -> None:
        """Print the lines that are new, each with its host where there are several; go on without where it can't."""
        try:
            for line in self.job.lines():
                print(f"[{line.host}] {line.text}" if state.instances > 1 else line.text, flush=True)
        except Refusal as error:
            self.note(f"{error}; the job is followed without its logs")

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.said:
            self.said.add(text)
            _say(f"note: {text}")


def _goes_on(job: TrainingJob) -> str:
    return f"job {job.name} goes on; follow it with 'accelerate sagemaker logs {job.words}', or end it with stop"


def _ask() -> str:
    """Ask what a Ctrl-C means; without a terminal to answer on, the job is left alone."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return "leave"
    answers = {"s": "stop", "l": "leave", "f": "follow"}
    try:
        while True:
            sys.stderr.write("\naccel: [s]top the job, [l]eave it running, or [f]ollow it further? ")
            sys.stderr.flush()
            answer = sys.stdin.readline()
            if not answer:
                return "leave"
            if answer.strip().lower()[:1] in answers:
                return answers[answer.strip().lower()[:1]]
    except KeyboardInterrupt:
        return "leave"


def _stop(job: TrainingJob) -> None:
    try:
        job.stop()
        _say(f"job {job.name} is asked to stop")
    except Refusal as error:
        _say(f"note: {error}")


def _say(text: str) -> None:
    print(f"accel: {text}", file=sys.stderr, flush=True)
