"""Submitting against a moto server: roles, buckets, the upload, the job."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import tarfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import boto3
import pytest

from tests.conftest import BIN, Run
from tests.schedule import sampled

from .conftest import CONFIG, until
from .service import ACCOUNT, Service, ServiceError

Amazon = dict[str, str]
Source = Callable[..., Path]


def connect(amazon: Amazon, name: Any) -> Any:
    return boto3.client(
        name,
        endpoint_url=amazon["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="AKIATESTTESTTEST",
        aws_secret_access_key="x",  # noqa: S106
    )


def make_role(amazon: Amazon, name: str = "train") -> str:
    return connect(amazon, "iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]


def test_a_job_is_created_with_its_bundle(accelerate: Run, amazon: Amazon, source: Source, tmp_path: Path) -> None:
    script = source()
    arn = make_role(amazon)
    words = ("--config_file", str(tmp_path / "config.yaml"), "--iam_role_name", "train", "--no-wait")
    done = accelerate("launch", *words, str(script), "--lr", "1e-4", "--fp16", env=amazon)
    assert done.returncode == 0, done.stderr
    name, console = done.stdout.split()
    assert console == f"https://console.aws.amazon.com/sagemaker/home?region=us-east-1#/jobs/{name}"
    job = connect(amazon, "sagemaker").describe_training_job(TrainingJobName=name)
    assert job["RoleArn"] == arn
    assert job["HyperParameters"]["lr"] == "0.0001"
    bucket = f"sagemaker-us-east-1-{ACCOUNT}"
    address = json.loads(job["HyperParameters"]["sagemaker_submit_directory"])
    assert address == f"s3://{bucket}/{name}/source/sourcedir.tar.gz"
    content = connect(amazon, "s3").get_object(Bucket=bucket, Key=f"{name}/source/sourcedir.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert archive.getnames() == ["train.py", "accel_entry.py", "accel_entry.json"]
        program = json.loads((archive.extractfile("accel_entry.json") or io.BytesIO()).read())
    assert program["arguments"] == ["--lr", "1e-4", "--fp16"]


@pytest.mark.exhaustive
def test_the_request_that_is_sent_is_the_one_that_a_dry_run_shows(
    accelerate: Run, amazon: Amazon, service: Service, source: Source, tmp_path: Path
) -> None:
    script = source()
    words = ("launch", "--config_file", str(tmp_path / "config.yaml"), "--sagemaker_job_name", "one", "--no-wait")
    env = {**amazon, **service.variables}
    shown = json.loads(accelerate(*words, "--dry-run", "--json", str(script), "--lr", "3", env=env).stdout)
    assert not service.calls
    done = accelerate(*words, str(script), "--lr", "3", env=env)
    assert done.returncode == 0, done.stderr
    assert service.asked("CreateTrainingJob") == [shown["request"]["body"]]


@pytest.mark.exhaustive
def test_another_region_gets_a_bucket_there(accelerate: Run, amazon: Amazon, source: Source, tmp_path: Path) -> None:
    script = source()
    words = ("--config_file", str(tmp_path / "config.yaml"), "--region", "eu-west-1", "--no-wait")
    done = accelerate("launch", *words, str(script), env=amazon)
    assert done.returncode == 0, done.stderr
    place = connect(amazon, "s3").get_bucket_location(Bucket=f"sagemaker-eu-west-1-{ACCOUNT}")
    assert place["LocationConstraint"] == "eu-west-1"


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--iam_role_name", "nobody"), f"account {ACCOUNT} has no role nobody"),
        (("--iam_role_name", "arn:aws:iam::999999999999:role/train"), "isn't in the account of the credentials"),
    ],
)
def test_a_role_that_will_not_do_leaves_nothing_behind(
    flags: tuple[str, ...], message: str, accelerate: Run, amazon: Amazon, source: Source, tmp_path: Path
) -> None:
    done = accelerate("launch", "--config_file", str(tmp_path / "config.yaml"), *flags, str(source()), env=amazon)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not connect(amazon, "s3").list_buckets()["Buckets"]


class Owned(BaseHTTPRequestHandler):
    """S3 with buckets of another account: moto doesn't look at the owner that is expected."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_HEAD(self) -> None:
        type(self).asked.append((self.command, self.headers["x-amz-expected-bucket-owner"]))
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_PUT = do_HEAD

    def log_request(self, *_args: object, **_named: object) -> None:
        """Say nothing."""


@pytest.mark.exhaustive
def test_a_bucket_of_someone_else_is_not_used(
    accelerate: Run, amazon: Amazon, source: Source, tmp_path: Path
) -> None:
    """The default bucket's name can be guessed; who made it first would read everybody's source."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Owned) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        env = {**amazon, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.server_port}"}
        done = accelerate("launch", "--config_file", str(tmp_path / "config.yaml"), str(source()), env=env)
        server.shutdown()
    assert Owned.asked == [("HEAD", ACCOUNT)]
    assert done.returncode == 1
    assert "looking for the bucket" in done.stderr
    assert "access is denied" in done.stderr


@pytest.mark.parametrize(
    ("error", "message"),
    sampled(
        [
            (ServiceError("ResourceLimitExceeded", "The limit is 0 Instances"), "the account's quota is too low"),
            (ServiceError("ExpiredTokenException", "The security token is expired"), "the session has expired"),
            (ServiceError("AccessDeniedException", "User: x is not authorized"), "access is denied; ask"),
            (
                ServiceError("ValidationException", "Could not assume role arn:aws:iam::1:role/x."),
                "the role's trust policy must let sagemaker.amazonaws.com assume it",
            ),
            (ServiceError("ResourceInUse", "names must be unique"), "a job of that name already exists"),
        ],
        every=5,
    ),
)
def test_a_refused_job_is_one_message_and_names_the_bundle(
    error: ServiceError,
    message: str,
    accelerate: Run,
    amazon: Amazon,
    service: Service,
    source: Source,
    tmp_path: Path,
) -> None:
    service.failures["CreateTrainingJob"] = [error]
    words = ("--config_file", str(tmp_path / "config.yaml"), "--sagemaker_job_name", "one")
    done = accelerate("launch", *words, str(source()), env={**amazon, **service.variables})
    assert done.returncode == 1
    assert message in done.stderr
    assert f"the bundle is still at s3://sagemaker-us-east-1-{ACCOUNT}/one/source/sourcedir.tar.gz" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.exhaustive
def test_the_bundle_of_a_job_that_is_there_is_not_touched(
    accelerate: Run, amazon: Amazon, service: Service, source: Source, tmp_path: Path
) -> None:
    words = ("launch", "--config_file", str(tmp_path / "config.yaml"), "--sagemaker_job_name", "one", "--no-wait")
    env = {**amazon, **service.variables}
    assert accelerate(*words, str(source()), env=env).returncode == 0
    place = {"Bucket": f"sagemaker-us-east-1-{ACCOUNT}", "Key": "one/source/sourcedir.tar.gz"}
    first = connect(amazon, "s3").head_object(**place)["ETag"]
    done = accelerate(*words, str(source("print('other')\n")), env=env)
    assert done.returncode == 2
    assert done.stderr.splitlines()[1:] == [
        "accelerate launch: job one already exists in us-east-1; give another --sagemaker_job_name, or none"
    ]
    assert connect(amazon, "s3").head_object(**place)["ETag"] == first
    assert len(service.asked("CreateTrainingJob")) == 1


@pytest.mark.exhaustive
def test_who_may_not_look_at_jobs_may_submit_one(
    accelerate: Run, amazon: Amazon, service: Service, source: Source, tmp_path: Path
) -> None:
    service.failures["DescribeTrainingJob"] = [ServiceError("AccessDeniedException", "not authorized")]
    words = ("launch", "--config_file", str(tmp_path / "config.yaml"), "--no-wait")
    done = accelerate(*words, str(source()), env={**amazon, **service.variables})
    assert done.returncode == 0, done.stderr


@pytest.mark.exhaustive
def test_an_interrupt_while_submitting_says_what_may_be_there(
    environ: dict[str, str], amazon: Amazon, service: Service, source: Source, tmp_path: Path
) -> None:
    service.slow["CreateTrainingJob"] = 2
    words = ("launch", "--config_file", str(tmp_path / "config.yaml"), "--sagemaker_job_name", "one")
    with subprocess.Popen(
        [BIN / "accelerate", *words, source()],
        env={**environ, **amazon, **service.variables},
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        until(lambda: bool(service.asked("CreateTrainingJob")))
        running.send_signal(signal.SIGINT)
        _out, err = running.communicate(timeout=20)
    assert running.returncode == 130
    assert "check with 'accelerate sagemaker status --region us-east-1 one' whether the job exists" in err
    assert f"The bundle may be at s3://sagemaker-us-east-1-{ACCOUNT}/one/source/sourcedir.tar.gz" in err


@pytest.mark.exhaustive
def test_throttling_is_retried(
    accelerate: Run, amazon: Amazon, service: Service, source: Source, tmp_path: Path
) -> None:
    service.failures["CreateTrainingJob"] = [ServiceError("ThrottlingException", "Rate exceeded")] * 2
    words = ("--config_file", str(tmp_path / "config.yaml"), "--no-wait")
    done = accelerate("launch", *words, str(source()), env={**amazon, **service.variables})
    assert done.returncode == 0, done.stderr
    assert len(service.asked("CreateTrainingJob")) == 3


def test_without_credentials_the_way_out_is_named(
    accelerate: Run, amazon: Amazon, source: Source, tmp_path: Path
) -> None:
    amazon = {name: text for name, text in amazon.items() if "ACCESS_KEY" not in name}
    done = accelerate("launch", "--config_file", str(tmp_path / "config.yaml"), str(source()), env=amazon)
    assert done.returncode == 1
    assert "there are no AWS credentials; give --profile" in done.stderr
    assert "Traceback" not in done.stderr


def test_keys_are_shown_nowhere(accelerate: Run, amazon: Amazon, source: Source, tmp_path: Path) -> None:
    amazon = {name: text for name, text in amazon.items() if "ACCESS_KEY" not in name}
    typed = ("--aws_access_key_id", "AKIAOFTHEUSER", "--aws_secret_access_key", "very-secret")
    words = ("launch", "--config_file", str(tmp_path / "config.yaml"), *typed)
    script = str(source())
    shown = accelerate(*words, "--dry-run", "--json", "--explain", script, env=amazon)
    done = accelerate(*words, "--no-wait", script, env=amazon)
    assert done.returncode == 0, done.stderr
    for text in (shown.stdout, shown.stderr, done.stdout, done.stderr):
        assert "very-secret" not in text
        assert "AKIAOFTHEUSER" not in text


@pytest.mark.exhaustive
def test_the_python_api(amazon: Amazon, source: Source, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from accel_sagemaker import job, submit

    for name, text in amazon.items():
        monkeypatch.setenv(name, text)
    script = source()
    request = job(settings(file=CONFIG), str(script), ["--lr", "1"])
    submitted = submit(request)
    assert submitted.name == request.name
    found = connect(amazon, "sagemaker").list_training_jobs()["TrainingJobSummaries"]
    assert [one["TrainingJobName"] for one in found] == [request.name]
