"""`--script`: what a script's steps take without data is what they take when the script really runs."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.estimate.conftest import ROOT

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="not installed: torch")
EXAMPLES, SCRIPTS = ROOT / "examples", ROOT / "tests" / "estimate" / "scripts"
LIBRARIES = {"accelerate": "accelerate", "trainer": "transformers", "pretrained": "transformers"}


def start(
    *words: str | Path, cwd: Path, module: str = "accel_estimate", **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, words)], env={**os.environ, "PYTHONPATH": str(ROOT), **env}, cwd=cwd,
        capture_output=True, text=True, timeout=170,
    )  # fmt: skip


def estimated(script: Path, *words: str, cwd: Path) -> dict[str, Any]:
    done = start("--script", script, "--json", "--", *words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def really(script: Path, *words: str, cwd: Path) -> int:
    """The peak that torch's tracker counts while the script runs on real tensors."""
    done = start(script, *words, cwd=cwd, module="tests.estimate.really")
    assert done.returncode == 0, done.stderr
    return int(done.stdout.rpartition("PEAK ")[2])


CASES = {
    "loop": (SCRIPTS / "loop.py", ()),
    "bf16": (SCRIPTS / "loop.py", ("--amp", "bfloat16", "--accumulate", "3")),
    "fp16": (SCRIPTS / "loop.py", ("--amp", "float16", "--optimizer", "SGD")),
    "digits": (EXAMPLES / "train_digits.py", ("--batch-size", "512")),
    "preemptible": (EXAMPLES / "train_preemptible.py", ("--checkpoint", "checkpoint.pt")),
    "accelerate": (EXAMPLES / "train_digits_accelerate.py", ()),
    "trainer": (EXAMPLES / "train_digits_trainer.py", ()),
}


@needs_torch
@pytest.mark.parametrize("name", CASES)
def test_it_counts_what_torchs_tracker_counts_when_the_script_really_runs(name: str, tmp_path: Path) -> None:
    if (library := LIBRARIES.get(name)) and find_spec(library) is None:
        pytest.skip(f"not installed: {library}; sync the group `hf`")
    script, words = CASES[name]
    found = estimated(script, *words, cwd=tmp_path)
    assert found["training"]["allocated_bytes"] == pytest.approx(really(script, *words, cwd=tmp_path), rel=0.02)
