"""Extras: each resolves to what it is named after, and those that messages and pages name exist."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.conftest import ROOT
from tests.environments import UV, uv
from tests.schedule import sampled
from tests.workspace.test_versions import MEMBERS

# What each extra brings that the package alone doesn't, as the lock has it (which is for every Python from 3.11 on).
BRINGS = {
    "accel-config[wizard]": {"questionary"},
    "accel-launch[torch]": {"torch"},
    "accel-launch[deepspeed]": {"deepspeed"},
    "accel-launch[fp8]": {"transformer-engine"},
    "accel-launch[fp8-ao]": {"torchao"},
    "accel-launch[functions]": {"cloudpickle"},
    "accel-launch[debug]": {"debugpy"},
    "accel-launch[nvml]": {"nvidia-ml-py"},
    "accel-launch[stacks]": {"py-spy"},
    "accel-estimate[transformers]": {"transformers", "torch"},
    "accel-estimate[trace]": {"transformers", "torch", "peft"},
    "accel-estimate[timm]": {"timm", "torch"},
    "accel-tpu[xla]": {"torch", "torch-xla"},
    "accel-sagemaker[sagemaker]": {"sagemaker"},
    "accel-cli[torch]": {"torch"},
    "accel-cli[deepspeed]": {"torch", "deepspeed"},
    "accel-cli[fp8]": {"torch", "transformer-engine"},
    "accel-cli[fp8-ao]": {"torch", "torchao"},
    "accel-cli[tpu]": {"torch", "torch-xla"},
    "accel-cli[sagemaker]": {"sagemaker"},
    "accel-cli[debug]": {"debugpy"},
    "accel-cli[all]": {"torch", "deepspeed", "sagemaker"},
}
MESSAGES = re.compile(r"(accel-\w+)\[([a-z0-9,-]+)\]")
needs_uv = pytest.mark.skipif(UV is None, reason="uv isn't on PATH: the lock can't be asked")


def test_each_extra_is_accounted_for() -> None:
    declared = {
        f"{name}[{extra}]" for name, project in MEMBERS.items() for extra in project.get("optional-dependencies", ())
    }
    assert declared == set(BRINGS)


def export(package: str, *extras: str) -> set[str]:
    """The distributions that a package with these extras needs, by the lock."""
    flags = [word for extra in extras for word in ("--extra", extra)]
    bare = ("--no-default-groups", "--no-emit-workspace", "--no-hashes", "--no-header", "--no-annotate")
    text = uv("export", "--frozen", "--quiet", *bare, "--package", package, *flags)
    return {line.partition("==")[0] for line in text.splitlines()}


@needs_uv
@pytest.mark.parametrize("extra", sampled(BRINGS, every=3))
def test_an_extra_brings_what_it_is_named_after(extra: str) -> None:
    package, name = extra.rstrip("]").split("[")
    alone = export(package)
    assert not BRINGS[extra] & alone
    assert export(package, name) >= alone | BRINGS[extra]


@needs_uv
@pytest.mark.parametrize("other", ["torch", "deepspeed", "fp8", "fp8-ao", "all"])
def test_two_torches_are_refused(other: str) -> None:
    words = ("export", "--frozen", "--quiet", "--package", "accel-cli", "--extra", "tpu", "--extra", other)
    done = subprocess.run([str(UV), *words], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "incompatible" in done.stderr


def test_extras_that_are_named_exist() -> None:
    """A message, a page or a docstring that says how to install something says what can be installed."""
    found: set[tuple[str, str]] = set()
    for pattern in ("README.md", "docs/*.md", "packages/*/README.md", "packages/*/src/**/*.py"):
        for path in ROOT.glob(pattern):
            found |= {
                (name, extra) for name, extras in MESSAGES.findall(path.read_text()) for extra in extras.split(",")
            }
    assert len(found) > 5
    assert {f"{name}[{extra}]" for name, extra in found} <= set(BRINGS)


@needs_uv
def test_only_those_who_launch_on_sagemaker_get_boto3() -> None:
    """Hugging Face's library imports boto3 in every rank where it is installed, which takes half a second."""
    assert not {"boto3", "botocore"} & export("accel-cli")
    assert {"boto3", "botocore"} <= export("accel-cli", "sagemaker") & export("accel-sagemaker")


@needs_uv
def test_estimating_brings_only_config_of_the_others() -> None:
    siblings = {name for name in export("accel-estimate") if name.startswith(("accel", "torch", "boto3"))}
    assert siblings <= {"accel-estimate", "accel-config"}
