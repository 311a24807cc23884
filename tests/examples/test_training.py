"""Sharded training for real on two gloo ranks: scripts that read the launched variables and say what they became."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tests import environments
from tests.conftest import ROOT, Run
from tests.environments import environment


def accuracy(line: str) -> float:
    found = re.match(r"accuracy (\d\.\d+), 2 ranks, ", line)
    assert found, line
    return float(found[1])


@pytest.mark.exhaustive  # by default `accelerate test` shards by FSDP2
@pytest.mark.timeout(240)
def test_fsdp2_shards_the_parameters(accelerate: Run) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    done = accelerate(
        *("launch", "--use_fsdp", "--fsdp_version", "2", "--num_processes", "2"),
        *(ROOT / "examples/train_fsdp2.py", "--epochs", "8"),
        timeout=220,
    )
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert "FSDPSequential of DTensor, 4096 of 8192 here" in line
    assert accuracy(line) > 0.9


@pytest.mark.exhaustive
def test_fsdp2s_script_reads_the_version(accelerate: Run) -> None:
    pytest.importorskip("torch")
    done = accelerate(
        *("launch", "--use_fsdp", "--fsdp_version", "1", "--num_processes", "2", ROOT / "examples/train_fsdp2.py"),
        timeout=170,
    )
    assert done.returncode == 1
    assert "start this with: accelerate launch --use_fsdp --fsdp_version 2" in done.stderr


@pytest.mark.stress
@pytest.mark.timeout(900)
@pytest.mark.parametrize("stage", ["2"])
def test_deepspeed_shards_by_the_stage(environ: dict[str, str], stage: str) -> None:
    if shutil.which("c++") is None:
        pytest.skip("there is no C++ compiler (c++): DeepSpeed compiles its shared memory for more than one CPU rank")
    done = subprocess.run(
        [
            *(environments.deepspeed() / "accel", "launch", "--use_deepspeed", "--zero_stage", stage),
            *("--gradient_clipping", "1.0", "--num_processes", "2"),
            *(ROOT / "examples/train_deepspeed.py", "--epochs", "8"),
        ],
        env={**environ, "TORCH_EXTENSIONS_DIR": str(ROOT / ".cache" / "torch_extensions")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert f"DeepSpeedEngine, ZeRO stage {stage}" in line
    assert accuracy(line) > 0.9


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_the_trainer_of_transformers(environ: dict[str, str]) -> None:
    pytest.importorskip("torch")
    script = ROOT / "examples/train_digits_trainer.py"
    done = subprocess.run(
        [environment("hf") / "accel", "launch", "--cpu", "--num_processes", "2", script, "--epochs", "8"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert re.fullmatch(r"accuracy 0\.9\d+ on 359 held-out images, 2 ranks, distributed", line), line


def test_every_example_is_run_by_a_test() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for path in (ROOT / "examples").iterdir():
        assert path.name in tests or path.suffix not in (".py", ".ipynb"), f"no test runs {path.name}"
