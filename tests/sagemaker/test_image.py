"""Which image: by the real SDK's own map, in an environment that has it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from accel_config import AccelError
from accel_sagemaker import image
from tests.environments import environment

from .conftest import CONFIG, keys

REGISTRY = "763104351884.dkr.ecr.us-east-1.amazonaws.com"
CPU = ("--ec2_instance_type", "ml.m5.xlarge")
VERSIONS = {"pytorch_version": "1.10.2", "transformers_version": "4.17.0", "py_version": "py38"}


def test_without_the_sdk_the_ways_out_are_named() -> None:
    with pytest.raises(AccelError, match=r"pip install 'accel-sagemaker\[sagemaker\]', or name an image"):
        image.address({**VERSIONS, "instance_type": "ml.p3.2xlarge"}, "us-east-1")


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        (
            (),
            f"{REGISTRY}/huggingface-pytorch-training:1.10.2-transformers4.17.0-gpu-py38-cu113-ubuntu20.04",
        ),
        (
            (*CPU, "--transformers_version", "none", "--pytorch_version", "2.3.0", "--py_version", "py311"),
            f"{REGISTRY}/pytorch-training:2.3.0-cpu-py311",
        ),
        (CPU, "for an instance without a GPU give --transformers_version none"),
    ],
)
def test_the_sdk_knows_the_image(flags: tuple[str, ...], found: str, environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    (tmp_path / "config.yaml").write_text(CONFIG.replace("image_uri", "base_job_name: x #"))
    words = ("launch", "--config_file", "config.yaml", *flags, "--dry-run", "--json", "train.py")
    done = subprocess.run(
        [environment("sagemaker-sdk") / "accelerate", *words],
        cwd=tmp_path,
        env={**environ, **keys(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    image = told["request"]["body"]["AlgorithmSpecification"]["TrainingImage"]
    assert image == found or any(found in note for note in told["notes"])
