"""The editor's check: diagnostics with their place, as lines of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

FILE = """\
distributed_type: FSDP
mixed_precison: bf16
num_processes: many
fsdp_config:
  fsdp_sync_module_states: false
log_dir: logs
"""
# Severity, line, the part of it that is underlined, and how the message begins.
FOUND = [
    ("error", 2, "mixed_precison", "unknown key 'mixed_precison'. Did you mean"),
    ("error", 3, "many", "num_processes must be a whole number"),
    ("error", 5, "fsdp_sync_module_states: false", "fsdp_cpu_ram_efficient_loading true (built in) and"),
    ("warning", 6, "log_dir: logs", "log_dir (run.yaml:6) works here, but"),
]


def check(*words: str, cwd: Path, text: str = "") -> tuple[int, list[dict[str, Any]]]:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "check_config.py", *words],
        cwd=cwd, input=text, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("words", [("run.yaml",), ("--name", "run.yaml", "-")], ids=["file", "buffer"])
def test_each_finding_has_its_place(tmp_path: Path, words: tuple[str, ...]) -> None:
    if "-" not in words:
        (tmp_path / "run.yaml").write_text(FILE)
    status, found = check(*words, cwd=tmp_path, text=FILE)
    assert status == 1
    lines = FILE.splitlines()
    for one, (severity, line, part, begins) in zip(found, FOUND, strict=True):
        assert (one["file"], one["severity"], one["line"]) == ("run.yaml", severity, line)
        assert lines[line - 1][one["column"] - 1 : one["end_column"] - 1] == part
        assert one["message"].startswith(begins)


def test_a_file_without_faults_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("num_processes: 2\n")
    assert check("run.yaml", cwd=tmp_path) == (0, [])


def test_a_file_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    status, (found,) = check("none.yaml", cwd=tmp_path)
    assert (status, found["line"], found["column"]) == (1, 1, 1)
    assert "can't be read" in found["message"]
