"""Hugging Face's library, in an environment of its own, as a client: what it makes of what the launcher gives it."""

from __future__ import annotations

import subprocess

import pytest

from tests.conftest import ROOT
from tests.environments import environment


@pytest.mark.timeout(900)
def test_a_script_made_for_the_library_sees_the_right_world(environ: dict[str, str]) -> None:
    where = environment("hf")
    # `accelerate` belongs to whichever distribution was installed last there; `accel` is ours.
    done = subprocess.run(
        [where / "accel", "launch", "--cpu", "--num_processes", "2", ROOT / "examples/train_digits_accelerate.py"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert "2 ranks, MULTI_CPU, precision no" in line
    assert float(line.split()[1]) > 0.95
