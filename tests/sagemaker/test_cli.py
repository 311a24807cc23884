"""`accelerate sagemaker status|logs|stop`, and the command of the package alone."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import BIN

from .conftest import Sagemaker, keys
from .service import Service, story

NAME = "job-1"


@pytest.fixture(autouse=True)
def job(service: Service) -> None:
    service.jobs[NAME] = {"at": time.time(), "ResourceConfig": {"InstanceCount": 1}}


def test_status(sagemaker: Sagemaker, service: Service) -> None:
    service.story = story(end="Failed")
    service.reason = "ExitCode 3: boom"
    text = sagemaker("status", NAME).stdout
    assert "status: Failed" in text
    assert "failure reason: ExitCode 3: boom" in text
    facts = json.loads(sagemaker("status", NAME, "--json").stdout)
    assert (facts["name"], facts["status"], facts["failure_reason"]) == (NAME, "Failed", "ExitCode 3: boom")


def test_logs_without_waiting(sagemaker: Sagemaker, service: Service) -> None:
    service.story = [("InProgress", "Training")]
    service.logs = {f"{NAME}/algo-1-1": ["a", "b", "c"]}
    done = sagemaker("logs", "--no-wait", NAME)
    assert (done.returncode, done.stdout) == (0, "a\nb\nc\n")


def test_stop_waits_until_the_job_has_stopped(sagemaker: Sagemaker, service: Service) -> None:
    service.story = [("InProgress", "Training")]
    done = sagemaker("stop", NAME)
    assert (done.returncode, done.stdout) == (0, f"job {NAME} has ended: Stopped\n")
    assert service.asked("StopTrainingJob") == [{"TrainingJobName": NAME}]


def test_stop_of_a_job_that_has_ended(sagemaker: Sagemaker, service: Service) -> None:
    service.story = story()[-1:]
    done = sagemaker("stop", NAME)
    assert (done.returncode, done.stdout) == (0, f"job {NAME} has already ended: Completed\n")
    assert not service.asked("StopTrainingJob")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("status", "nobody"), 1, "the account has no such job in this region; check --region and --profile"),
        (("status",), 2, "the job isn't named"),
        (("status", NAME, "other"), 2, "'other' is one word too many"),
        (("start", NAME), 2, "'start' isn't a command; the commands are launch, status, logs, stop"),
    ],
)
def test_mistakes_are_one_message(sagemaker: Sagemaker, words: tuple[str, ...], status: int, message: str) -> None:
    done = sagemaker(*words)
    assert done.returncode == status
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help(sagemaker: Sagemaker) -> None:
    for words in (("--help",), ("status", "--help")):
        done = sagemaker(*words)
        assert "usage: accelerate sagemaker launch" in done.stdout
        assert done.returncode == 0


def test_the_package_alone_launches(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    flags = ("--ec2_instance_type", "ml.p3.2xlarge", "--iam_role_name", "train", "--image_uri", "image", "--json")
    done = subprocess.run(
        [BIN / "accel-sagemaker", "launch", *flags, "--dry-run", "train.py"],
        cwd=tmp_path,
        env={**environ, **keys(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["request"]["body"]["RoleArn"] == "<ARN of role train>"
