"""One training job at the service: what it says of it, its logs, and stopping it."""

from __future__ import annotations

import datetime
import shlex

from accel_config.record import Record

from .refusals import Refusal, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .credentials import Credentials

ATTEMPTS = 6
"""How often a call that is throttled, or meets a fault of the service, is made; with growing pauses."""
GROUP = "/aws/sagemaker/TrainingJobs"
ENDED = ("Completed", "Failed", "Stopped")
NOTHING: dict[str, Any] = {}
OUT_OF_TIME = ("MaxRuntimeExceeded", "MaxWaitTimeExceeded")


def client(session: Any, service: str) -> Any:
    """Return a client that repeats a call which is throttled."""
    from botocore.config import Config

    return session.client(service, config=Config(retries={"mode": "standard", "total_max_attempts": ATTEMPTS}))


class Line(Record):
    """A line of the job's logs."""

    host: str
    """``algo-1`` and so on."""
    text: str


class State(Record):
    """What the service says of the job."""

    status: str
    secondary: str
    reason: str
    model: str
    instances: int
    started: datetime.datetime
    ended: datetime.datetime | None
    transitions: tuple[tuple[str, str], ...]
    """Each status it has had, with the service's message."""

    @property
    def over(self) -> bool:
        """Whether the job has ended."""
        return self.status in ENDED

    @property
    def out_of_time(self) -> bool:
        """Whether it was stopped because its time was over."""
        return self.status == "Stopped" and self.secondary in OUT_OF_TIME

    @property
    def elapsed(self) -> str:
        """How long the job has been there, ``H:MM:SS``."""
        until = self.ended or datetime.datetime.now(datetime.UTC)
        return str(datetime.timedelta(seconds=max(0, int((until - self.started).total_seconds()))))

    @classmethod
    def of(cls, answer: dict[str, Any]) -> State:
        """Read the answer to DescribeTrainingJob."""
        over = answer["TrainingJobStatus"] in ENDED
        return cls(
            status=answer["TrainingJobStatus"],
            secondary=answer["SecondaryStatus"],
            reason=answer.get("FailureReason", ""),
            model=answer.get("ModelArtifacts", NOTHING).get("S3ModelArtifacts", ""),
            instances=answer.get("ResourceConfig", NOTHING).get("InstanceCount", 1),
            started=answer["CreationTime"],
            ended=(answer.get("TrainingEndTime") or answer.get("LastModifiedTime")) if over else None,
            transitions=tuple(
                (step["Status"], " ".join(step.get("StatusMessage", "").split()))
                for step in answer.get("SecondaryStatusTransitions") or ()
            ),
        )


class TrainingJob:
    """A job by its name."""

    def __init__(self, name: str, region: str, credentials: Credentials) -> None:
        self.name, self.region = name, region
        profile = ("--profile", credentials.profile) if credentials.profile else ()
        self.words = shlex.join(("--region", region, *profile, name))
        """What names the job to the commands of this package."""
        session = credentials.session(region)
        self._sagemaker, self._logs = client(session, "sagemaker"), client(session, "logs")
        self._places: dict[str, tuple[str | None, int]] = {}
        """How far each stream has been read: the token of a page, and the lines of that page that were yielded."""

    @property
    def console(self) -> str:
        """The address of the job's page."""
        domain = "console.aws.amazon.com"
        if self.region.startswith("cn-"):
            domain = "console.amazonaws.cn"
        elif self.region.startswith("us-gov-"):
            domain = "console.amazonaws-us-gov.com"
        return f"https://{domain}/sagemaker/home?region={self.region}#/jobs/{self.name}"

    def describe(self) -> State:
        """Ask for the job's state.

        Raises:
            Refusal: the service doesn't say.
        """
        with told(f"asking for job {self.name} in {self.region}"):
            return State.of(self._sagemaker.describe_training_job(TrainingJobName=self.name))

    def stop(self) -> None:
        """Ask for the job to be stopped.

        Raises:
            Refusal: the service doesn't; it doesn't stop a job that has ended.
        """
        with told(f"stopping job {self.name} in {self.region}"):
            self._sagemaker.stop_training_job(TrainingJobName=self.name)

    def lines(self) -> Iterator[Line]:
        """Yield the lines of every host's log that were not yielded before.

        Raises:
            Refusal: the logs can't be read.
        """
        with told(f"reading the logs of job {self.name}"):
            try:
                for stream in self._streams():
                    yield from self._events(stream)
            except self._logs.exceptions.ResourceNotFoundException:
                return  # no job of the account has logged yet

    def _streams(self) -> list[str]:
        # With the slash: the name alone would match the streams of every job whose name begins with it.
        pages = self._logs.get_paginator("describe_log_streams").paginate(
            logGroupName=GROUP, logStreamNamePrefix=f"{self.name}/"
        )
        return [stream["logStreamName"] for page in pages for stream in page["logStreams"]]

    def _events(self, stream: str) -> Iterator[Line]:
        host = "-".join(stream.rpartition("/")[2].split("-")[:2])
        while True:
            token, yielded = self._places.get(stream, (None, 0))
            more = {"nextToken": token} if token else {}
            answer = self._logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True, **more)
            for place, event in enumerate(answer["events"][yielded:], yielded + 1):
                yield Line(host, event["message"].rstrip("\n"))
                self._places[stream] = token, place  # here, after the line is printed: an interrupt loses none
            self._places[stream] = answer["nextForwardToken"], 0
            if answer["nextForwardToken"] == token:  # a page may be empty before the end
                return


__all__ = ["Line", "Refusal", "State", "TrainingJob", "client"]
