"""One training job at the service: its state, its logs, and stopping it."""

from __future__ import annotations

import datetime
import shlex

from accel_config.record import Record
from accel_sagemaker.service.policy import GROUP
from accel_sagemaker.service.refusals import calling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from accel_sagemaker.service.credentials import Credentials

ATTEMPTS = 6
"""Attempts of a call that is throttled or fails in the service, with growing pauses."""
ENDED = ("Completed", "Failed", "Stopped")
NOTHING: dict[str, Any] = {}
OUT_OF_TIME = ("MaxRuntimeExceeded", "MaxWaitTimeExceeded")


def client(session: Any, service: str) -> Any:
    """Return a client that repeats a throttled call."""
    from botocore.config import Config

    return session.client(service, config=Config(retries={"mode": "standard", "total_max_attempts": ATTEMPTS}))


class Line(Record):
    """A line of the job's logs."""

    host: str
    """``algo-1`` and so on."""
    text: str


class State(Record):
    """The service's description of the job."""

    status: str
    secondary: str
    reason: str
    model: str
    instances: int
    started: datetime.datetime
    ended: datetime.datetime | None
    transitions: tuple[tuple[str, str], ...]
    """Each past status, with the service's message."""

    @property
    def over(self) -> bool:
        """Whether the job has ended."""
        return self.status in ENDED

    @property
    def out_of_time(self) -> bool:
        """Whether the service stopped the job at its time limit."""
        return self.status == "Stopped" and self.secondary in OUT_OF_TIME

    @property
    def elapsed(self) -> str:
        """The time since the job was created, or until it ended: ``H:MM:SS``."""
        until = self.ended or datetime.datetime.now(datetime.UTC)
        return str(datetime.timedelta(seconds=max(0, int((until - self.started).total_seconds()))))

    @classmethod
    def of(cls, answer: dict[str, Any]) -> State:
        """Return the state in an answer to DescribeTrainingJob."""
        over = answer["TrainingJobStatus"] in ENDED
        return cls(
            status=str(answer["TrainingJobStatus"]),
            secondary=str(answer["SecondaryStatus"]),
            reason=str(answer.get("FailureReason") or ""),
            model=str((answer.get("ModelArtifacts") or NOTHING).get("S3ModelArtifacts") or ""),
            instances=int((answer.get("ResourceConfig") or NOTHING).get("InstanceCount") or 1),
            started=answer["CreationTime"],
            ended=(answer.get("TrainingEndTime") or answer.get("LastModifiedTime")) if over else None,
            transitions=tuple(
                (str(step["Status"]), " ".join(str(step.get("StatusMessage") or "").split()))
                for step in answer.get("SecondaryStatusTransitions") or ()
            ),
        )


class TrainingJob:
    """A job by its name."""

    def __init__(self, name: str, region: str, credentials: Credentials) -> None:
        self.name, self.region = name, region
        profile = ("--profile", credentials.profile) if credentials.profile else ()
        self.words = shlex.join(("--region", region, *profile, name))
        """The words for the job in commands of this package."""
        session = credentials.session(region)
        self._sagemaker, self._logs = client(session, "sagemaker"), client(session, "logs")
        self._places: dict[str, tuple[str | None, int]] = {}
        """The place in each stream: the token of a page, and the number of its lines that were yielded."""

    @property
    def console(self) -> str:
        """The address of the job's page in the console."""
        domain = "console.aws.amazon.com"
        if self.region.startswith("cn-"):
            domain = "console.amazonaws.cn"
        elif self.region.startswith("us-gov-"):
            domain = "console.amazonaws-us-gov.com"
        return f"https://{domain}/sagemaker/home?region={self.region}#/jobs/{self.name}"

    def describe(self) -> State:
        """Return the job's state.

        Raises:
            Refusal: the service doesn't return it.
        """
        with calling(f"describing job {self.name} in {self.region}"):
            return State.of(self._sagemaker.describe_training_job(TrainingJobName=self.name))

    def stop(self) -> None:
        """Ask the service to stop the job.

        Raises:
            Refusal: it refuses, for example because the job has ended.
        """
        with calling(f"stopping job {self.name} in {self.region}"):
            self._sagemaker.stop_training_job(TrainingJobName=self.name)

    def lines(self) -> Iterator[Line]:
        """Yield the lines of every host's log that weren't yielded before.

        Raises:
            Refusal: the logs can't be read.
        """
        with calling(f"reading the logs of job {self.name}"):
            try:
                for stream in self._streams():
                    yield from self._events(stream)
            except self._logs.exceptions.ResourceNotFoundException:
                return  # no job of the account has logged yet

    def _streams(self) -> list[str]:
        # Without the slash, the name would match the streams of every job whose name begins with it.
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
                self._places[stream] = token, place  # after the line is printed, so that an interrupt loses no line
            self._places[stream] = answer["nextForwardToken"], 0
            if answer["nextForwardToken"] == token:  # a page may be empty before the end
                return
