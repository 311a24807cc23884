"""A checkpoint of an older torch, which this one's merge-weights merges: the forms of metadata and shards differ."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from accel_cli.commands.merge import main
from tests.cli.test_merge import load
from tests.conftest import needs_torch
from tests.environments import install, kept
from tests.interpreters import find

pytestmark = [pytest.mark.stress, pytest.mark.timeout(900), needs_torch]

SAVE = """
import sys, torch, torch.distributed.checkpoint as dcp
tensors = {"w": torch.arange(24.).view(4, 6), "t": torch.arange(6.).view(2, 3).t(), "s": torch.tensor(3)}
tensors |= {"h": torch.ones(3, dtype=torch.bfloat16), "f": torch.ones(2, dtype=torch.float8_e4m3fn)}
dcp.save({"model": tensors, "step": 3}, storage_writer=dcp.FileSystemWriter(sys.argv[1]))
"""


def test_a_checkpoint_of_an_older_torch(tmp_path: Path) -> None:
    version, python = "2.5.1", find("3.11")
    if python is None:
        pytest.skip("this torch needs Python 3.12 or older, and 3.11 isn't on this machine")

    def make(folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        install(folder, f"torch=={version}", "numpy<2", python=python)

    old = kept(f"torch-{version}", make) / "python"
    subprocess.run([old, "-c", SAVE, tmp_path / "ck"], check=True, capture_output=True, timeout=300)
    assert main([str(tmp_path / "ck"), str(tmp_path / "out")]) == 0
    found = load(tmp_path / "out")
    assert {name: value.float().tolist() for name, value in found.items()} == {
        "w": [[6.0 * row + column for column in range(6)] for row in range(4)],
        "t": [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]],
        "s": 3.0,
        "h": [1.0] * 3,
        "f": [1.0] * 2,
    }
