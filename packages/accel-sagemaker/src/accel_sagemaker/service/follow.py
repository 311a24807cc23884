"""Following a job to its end: its status and its logs as they arrive, and the exit status for them."""

from __future__ import annotations

import re
import signal
import sys
import time

from accel_config import front
from accel_config.errors import FAILED, INTERRUPTED, READER_GONE
from accel_config.showing.console import data, pass_on
from accel_launch import Result
from accel_sagemaker.service.refusals import Refusal
from accel_sagemaker.service.submission import submit
from accel_sagemaker.service.training import TrainingJob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_sagemaker.building.request import JobRequest
    from accel_sagemaker.service.training import State

PATIENCE = 20
"""Requests for the status in a row that may fail, for lack of network or by throttling, before we give up."""
LAST_READINGS = 2
"""Readings of the logs after the job's end: they arrive some seconds late."""
_STATUS = re.compile(r"ExitCode (-?\d+)")


def run(request: JobRequest) -> Result:
    """Submit the job and, unless ``request.wait`` is false, follow it to its end.

    Raises:
        AccelError: the job can't be submitted.
    """
    submitted = submit(request)
    if not request.wait:
        data(f"{submitted.name}\n{submitted.console}\n")
        return Result(0)
    _print(f"job {submitted.name} is submitted: {submitted.console}")
    return follow(TrainingJob(submitted.name, submitted.region, request.credentials), request.poll)


def follow(job: TrainingJob, poll: float) -> Result:
    """Show the job's status and logs until it ends, or until Ctrl-C, a lost reader or a refusal of the service."""
    follower = _Follower(job, poll)
    while True:
        try:
            return follower.to_the_end()
        except KeyboardInterrupt:
            answer = _ask()
        except BrokenPipeError:
            front.discard(1)
            return Result(READER_GONE, problems=(f"the reader of the logs has gone; {_still_running(job)}",))
        except Refusal as error:
            return Result(error.status, problems=(f"{error}; {_still_running(job)}",))
        if answer == "leave":
            return Result(INTERRUPTED, signal=signal.SIGINT, problems=(_still_running(job),))
        if answer == "stop":
            _stop(job)


def result(job: TrainingJob, state: State) -> Result:
    """Return the result of a job that has ended, from its state."""
    ending = f"job {job.name} {_ending(state)} after {state.elapsed}"
    if state.status == "Completed":
        return Result(0, notes=(ending + (f"; model: {state.model}" if state.model else ""),))
    if state.status == "Failed":
        return Result(_status(state.reason), problems=(f"{ending}: {state.reason or 'SageMaker gives no reason'}",))
    return Result(FAILED if state.out_of_time else INTERRUPTED, problems=(ending,))


def _ending(state: State) -> str:
    return "ran out of time" if state.out_of_time else state.status.lower()


def _status(reason: str) -> int:
    """Return the script's exit status from the reason of a failure, or 1 if the reason has none."""
    found = _STATUS.search(reason)
    code = int(found.group(1)) if found else FAILED
    code = 128 - code if code < 0 else code
    return code if 0 < code < 256 else FAILED  # noqa: PLR2004


class _Follower:
    """The status and the logs of a job that have been shown."""

    def __init__(self, job: TrainingJob, poll: float) -> None:
        self.job, self.poll = job, poll
        self.transitions = 0
        self.notes: set[str] = set()
        self.failed = 0

    def to_the_end(self) -> Result:
        """Show new statuses and logs until the job has ended; return its result."""
        while True:
            state = self.state()
            if state is not None:
                self.show(state)
                if state.over:
                    for _reading in range(LAST_READINGS):
                        time.sleep(self.poll)
                        self.show_logs(state)
                    return result(self.job, state)
            time.sleep(self.poll)

    def state(self) -> State | None:
        """Return the job's state, or None if the service can't be reached at the moment.

        Raises:
            Refusal: the service refuses, or can't be reached for too long.
        """
        try:
            state = self.job.describe()
        except Refusal as error:
            self.failed += 1
            if not error.temporary or self.failed > PATIENCE:
                raise
            self.note(str(error))
            return None
        self.failed = 0
        return state

    def show(self, state: State) -> None:
        """Show the new statuses, then the new lines of the logs."""
        for status, message in state.transitions[self.transitions :]:
            _print(f"[{state.elapsed}] {status}{': ' + message if message else ''}")
        self.transitions = max(self.transitions, len(state.transitions))
        self.show_logs(state)

    def show_logs(self, state: State) -> None:
        """Print the new lines of the logs, with their host if there are several; a refusal is a note."""
        try:
            for line in self.job.lines():
                pass_on(f"[{line.host}] {line.text}\n" if state.instances > 1 else f"{line.text}\n")
        except Refusal as error:
            self.note(f"{error}; the job is followed without its logs")

    def note(self, text: str) -> None:
        """Print a note, once."""
        if text not in self.notes:
            self.notes.add(text)
            _print(f"note: {text}")


def _still_running(job: TrainingJob) -> str:
    return (
        f"job {job.name} still runs; follow it with 'accelerate sagemaker logs {job.words}', or stop it with "
        f"'accelerate sagemaker stop {job.words}'"
    )


def _ask() -> str:
    """Ask what to do after Ctrl-C; without a terminal, the job keeps running."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return "leave"
    answers = {"s": "stop", "l": "leave", "f": "follow"}
    try:
        while True:
            front.say("\naccel: [s]top the job, [l]eave it running, or [f]ollow it on? ")
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
        _print(f"job {job.name} is stopping")
    except Refusal as error:
        _print(f"note: {error}")


def _print(text: str) -> None:
    front.tell("accel", (text,))
