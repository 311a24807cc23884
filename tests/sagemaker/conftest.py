"""What the tests of SageMaker jobs share: Amazon's services on loopback, and the program of its containers."""

from __future__ import annotations

import http.client
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from accel_config.record import Record
from tests.environments import environment

from .service import ACCOUNT, Service

CONFIG = f"""\
compute_environment: AMAZON_SAGEMAKER
distributed_type: 'NO'
mixed_precision: bf16
ec2_instance_type: ml.p3.2xlarge
iam_role_name: arn:aws:iam::{ACCOUNT}:role/train
image_uri: {ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/train:1
region: us-east-1
"""


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a moto server."""
    log = tmp_path_factory.mktemp("moto") / "log"
    with (
        log.open("w") as log_file,
        subprocess.Popen(
            [environment("aws") / "moto_server", "-H", "127.0.0.1", "-p", "0"], stderr=log_file
        ) as running,
    ):
        try:
            until(lambda: "Running on" in log.read_text(), 150)  # a fresh environment is compiled first
            yield next(line.split()[-1] for line in log.read_text().splitlines() if "Running on" in line)
        finally:
            running.terminate()


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it didn't happen in time"
        time.sleep(0.02)


class Said(Record):
    """How a command that was run in this process ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


Sagemaker = Callable[..., Said]


@pytest.fixture
def sagemaker(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Sagemaker:
    """Run ``accelerate sagemaker`` with these words, in this process (boto3 takes long to import), on the service."""
    for name, text in {**keys(tmp_path), **service.variables, "HF_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, text)

    def run(*words: str) -> Said:
        from accel_sagemaker.cli import main

        status = main([*words[:1], "--sagemaker_poll_interval", "0.02", *words[1:]], "accelerate sagemaker")
        printed = capsys.readouterr()
        return Said(status, printed.out, printed.err)

    return run


@pytest.fixture
def amazon(moto: str, tmp_path: Path) -> dict[str, str]:
    """The variables that lead boto3 to a moto server without anything in it."""
    server = http.client.HTTPConnection(moto.removeprefix("http://"))
    server.request("POST", "/moto-api/reset")
    server.getresponse().read()
    server.close()
    return {**keys(tmp_path), "AWS_ENDPOINT_URL": moto}


def keys(folder: Path) -> dict[str, str]:
    """Variables with keys, and without any of this machine's own profiles and roles."""
    return {
        "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
        "AWS_CONFIG_FILE": str(folder / "aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "aws-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the machine's own account out of every test."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, text in keys(tmp_path).items():
        if name not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, text)


@pytest.fixture
def service() -> Iterator[Service]:
    """The scripted server."""
    with Service() as running:
        yield running


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Path]:
    """Write a config and a folder with a script; return the script."""

    def write(script: str = "print('hello')\n", config: str = CONFIG) -> Path:
        folder = tmp_path / "source"
        folder.mkdir(exist_ok=True)
        (folder / "train.py").write_text(script)
        (tmp_path / "config.yaml").write_text(config)
        return folder / "train.py"

    return write
