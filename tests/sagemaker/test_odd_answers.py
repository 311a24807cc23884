"""Answers of the services that lack something or have it in another type: one message, never a traceback."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.fuzzing import fuzz
from tests.schedule import sampled

from .conftest import Sagemaker
from .service import Service

JOB = ("--region", "us-east-1", "job")
DESCRIBED: dict[str, Any] = {
    "TrainingJobName": "job",
    "TrainingJobStatus": "Failed",
    "SecondaryStatus": "Failed",
    "CreationTime": 1.0,
    "LastModifiedTime": 60.0,
    "FailureReason": "AlgorithmError: ExitCode 3",
    "ModelArtifacts": {"S3ModelArtifacts": "s3://m"},
    "ResourceConfig": {"InstanceCount": 1},
    "SecondaryStatusTransitions": [{"Status": "Training", "StatusMessage": "at it"}],
}
STREAMS: dict[str, Any] = {"logStreams": [{"logStreamName": "job/algo-1-1"}]}
EVENTS: dict[str, Any] = {"events": [{"message": "hello"}], "nextForwardToken": "t"}
ODD: tuple[Any, ...] = (None, 1, -1.5, True, "", "text", [], ["x"], {}, {"a": 1}, [[]], 10**400, "1e999")


def calm(sagemaker: Sagemaker, *words: str) -> None:
    """A command ends with a status that it has a reason for, and says what is wrong in lines of its own."""
    said = sagemaker(*words)
    assert said.returncode in (0, 1, 2, 3, 130), said
    assert "Traceback" not in said.stderr
    assert said.returncode in (0, 3) or said.stderr.startswith(("accelerate sagemaker", "accel: ")), said


@pytest.mark.parametrize("answer", sampled([b"", b"<html>a proxy</html>", [], {}, "text", b"[" * 100_000], every=5))
@pytest.mark.parametrize("operation", ["DescribeTrainingJob", "DescribeLogStreams"])
def test_another_kind_of_answer(
    sagemaker: Sagemaker, service: Service, monkeypatch: pytest.MonkeyPatch, operation: str, answer: object
) -> None:
    monkeypatch.setattr("accel_sagemaker.service.follow.PATIENCE", 1)
    service.odd = {"DescribeTrainingJob": DESCRIBED, "DescribeLogStreams": STREAMS, "GetLogEvents": EVENTS}
    service.odd[operation] = answer
    calm(sagemaker, "status", *JOB)
    calm(sagemaker, "logs", *JOB)


@pytest.mark.fuzz
def test_odd_types(sagemaker: Sagemaker, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_round(chance: random.Random) -> None:
        answers = {"DescribeTrainingJob": DESCRIBED, "DescribeLogStreams": STREAMS, "GetLogEvents": EVENTS}
        service.odd = {name: spoilt(answer, chance) for name, answer in answers.items()}
        # Without --no_wait, a job whose status nobody knows would be followed for ever, as one that still runs.
        words = chance.choice((["status"], ["logs", "--no_wait"], ["stop", "--no_wait"]))
        calm(sagemaker, *words, *JOB)

    fuzz(one_round)


def spoilt(value: Any, chance: random.Random) -> Any:
    """A copy of an answer in which a few values are others, or aren't there."""
    if chance.random() < 0.08:
        return chance.choice(ODD)
    if isinstance(value, dict):
        return {name: spoilt(item, chance) for name, item in value.items() if chance.random() > 0.05}
    if isinstance(value, list):
        return [spoilt(item, chance) for item in value] * chance.choice((0, 1, 1, 1, 2))
    return value
