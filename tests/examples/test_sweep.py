"""The sweep runner: every combination, a table, and failing trials in it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

TRIAL = """
import os, sys
values = dict(zip(sys.argv[1::2], sys.argv[2::2]))
rate = float(values["--rate"])
if rate > 0.5 and os.environ["RANK"] == "1":
    raise ValueError("loss is no number")
if rate <= 0.5:
    print("accuracy", 1 - rate, "on", os.environ["WORLD_SIZE"], "ranks of size", values["--size"])
"""


Sweep = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def sweep(tmp_path: Path, environ: dict[str, str]) -> Sweep:
    (tmp_path / "trial.py").write_text(TRIAL)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, ROOT / "examples" / "sweep.py", *words],
            cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


def test_every_combination_is_tried_and_failures_are_told(sweep: Sweep, tmp_path: Path) -> None:
    grid = ("--try", "rate=0.9,0.4,0.1", "--try", "size=1,2")
    done = sweep(*grid, "--jobs", "3", "--", "--cpu", "--num_processes", "2", "trial.py")
    assert done.returncode == 1, done.stderr
    head, *rows = (line.split(maxsplit=5) for line in done.stdout.splitlines())
    assert head == ["rate", "size", "accuracy", "time", "end"]
    assert [row[:3] for row in rows[:4]] == [
        ["0.1", "1", "0.9"], ["0.1", "2", "0.9"], ["0.4", "1", "0.6"], ["0.4", "2", "0.6"],
    ]  # fmt: skip
    assert [row[5] for row in rows[:4]] == ["ok"] * 4
    for row, size in zip(rows[4:], "12", strict=True):
        assert row[:3] == ["0.9", size, "-"]
        assert row[5] == f"rank 1: ValueError: loss is no number, {tmp_path / 'trial.py'}:6"
    logs = {path.read_text() for path in (tmp_path / "sweep").glob("*/*/attempt_0/0/stdout.log")}
    assert "accuracy 0.9 on 2 ranks of size 1\n" in logs


def test_all_well_is_0(sweep: Sweep) -> None:
    done = sweep("--try", "rate=0.1", "--try", "size=3", "--", "--cpu", "--num_processes", "2", "trial.py")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_tried_needs_a_name_and_values(sweep: Sweep) -> None:
    done = sweep("--try", "rate", "--", "--cpu", "trial.py")
    assert done.returncode == 2
    assert "'rate' is not NAME=A,B,..." in done.stderr


def test_a_wrong_flag_starts_nothing(sweep: Sweep, tmp_path: Path) -> None:
    done = sweep("--try", "rate=0.1", "--", "--num_procesess", "2", "trial.py")
    assert done.returncode == 2
    assert done.stderr == "sweep: --num_procesess isn't a flag of launch. Did you mean '--num_processes'?\n"
    assert not (tmp_path / "sweep").exists()
