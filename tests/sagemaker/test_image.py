"""Which image: by the real SDK's own map, in an environment that has it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from accel_config import CATALOGUE, AccelError, resolve
from accel_config.catalogue import SageMaker
from accel_sagemaker.building import image
from tests.environments import environment
from tests.schedule import sampled

from .conftest import CONFIG, Sagemaker, keys
from .service import Service

Source = Callable[..., Path]
REGISTRY = "763104351884.dkr.ecr.us-east-1.amazonaws.com"
CPU = ("--ec2_instance_type", "ml.m5.xlarge")
OLD = ("--pytorch_version", "1.10.2", "--transformers_version", "4.17.0", "--py_version", "py38")
VERSIONS = {"pytorch_version": "1.10.2", "transformers_version": "4.17.0", "py_version": "py38"}


def test_without_an_image_and_versions_the_ways_out_are_named() -> None:
    """Amazon no longer serves the images that were the default once."""
    found = resolve(CATALOGUE, [])[SageMaker]
    assert (found.pytorch_version, found.transformers_version, found.py_version) == (None, None, None)
    with pytest.raises(
        AccelError, match=r"no image: name one with --image_uri, or the versions .* --pytorch_version"
    ):
        image.address({"instance_type": "ml.p3.2xlarge"}, "us-east-1")


def test_without_the_sdk_the_ways_out_are_named() -> None:
    with pytest.raises(AccelError, match=r"uv pip install .*accel-sagemaker\[sagemaker\]', or name an image"):
        image.address({**VERSIONS, "instance_type": "ml.p3.2xlarge"}, "us-east-1")


def test_a_job_without_an_image_is_refused_before_anything_is_sent(
    sagemaker: Sagemaker, service: Service, source: Source, tmp_path: Path
) -> None:
    script = source(config=CONFIG.replace("image_uri", "pytorch_version: '2.5.1' #"))
    said = sagemaker("launch", "--config_file", str(tmp_path / "config.yaml"), str(script))
    assert said.returncode == 2
    assert "image_uri isn't set, and finding the image for pytorch_version " in said.stderr
    assert "nothing was sent. Run: uv pip install " in said.stderr
    assert service.calls == []


@pytest.mark.exhaustive
def test_the_accounts_of_amazons_images_are_those_of_the_sdk() -> None:
    """The role of a job may read these accounts' repositories alone; a region that the SDK adds has to be added."""
    code = (
        "import json, pathlib, sagemaker.core as core; from accel_sagemaker.service.policy import *\n"
        "folder = pathlib.Path(next(iter(core.__path__)), 'image_uri_config')\n"
        "for name in ('pytorch', 'huggingface'):\n"
        "    text = json.loads((folder / f'{name}.json').read_text())\n"
        "    def walk(value):\n"
        "        if isinstance(value, dict):\n"
        "            if value.get('repository') in REPOSITORIES:\n"
        "                for region, account in value['registries'].items():\n"
        "                    if '-iso' not in region and REGISTRIES.get(region, REGISTRY) != account:\n"
        "                        print(region, account)\n"
        "            for item in value.values(): walk(item)\n"
        "    walk(text['training'])\n"
    )
    done = subprocess.run([environment("sagemaker-sdk") / "python", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("flags", "found"),
    sampled(
        [
            (
                OLD,
                f"{REGISTRY}/huggingface-pytorch-training:1.10.2-transformers4.17.0-gpu-py38-cu113-ubuntu20.04",
            ),
            ((*CPU, "--pytorch_version", "2.3.0"), f"{REGISTRY}/pytorch-training:2.3.0-cpu-py311"),
            (
                (*CPU, "--transformers_version", "none", "--pytorch_version", "2.3.0", "--py_version", "py311"),
                f"{REGISTRY}/pytorch-training:2.3.0-cpu-py311",
            ),
            ((*CPU, *OLD), "for an instance without a GPU, give --transformers_version none"),
        ],
        every=6,
    ),
)
@pytest.mark.exhaustive
def test_the_sdk_knows_the_image(flags: tuple[str, ...], found: str, environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    (tmp_path / "config.yaml").write_text(CONFIG.replace("image_uri", "pytorch_version: '2.5.1' #"))
    words = ("launch", "--config_file", "config.yaml", *flags, "--dry-run", "--json", "train.py")
    done = subprocess.run(
        [environment("sagemaker-sdk") / "accelerate", *words],
        cwd=tmp_path,
        env={**environ, **keys(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    shown = json.loads(done.stdout)
    image = shown["request"]["body"]["AlgorithmSpecification"]["TrainingImage"]
    assert image == found or any(found in note for note in shown["notes"])
