"""What starting up imports: counted, never timed (benchmarks/startup.py times it)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import BIN

HEAVY = {
    "torch", "transformers", "numpy", "yaml", "boto3", "botocore", "sagemaker", "huggingface_hub", "rich",
    "questionary", "typing", "dataclasses", "argparse", "inspect", "subprocess", "importlib.metadata", "pathlib", "asyncio", "json",
}  # fmt: skip


def modules(environ: dict[str, str], *words: str) -> set[str]:
    """The modules that a command imports, by the interpreter's own account; a bare start's are left out."""

    def count(*command: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", *command], env=environ, capture_output=True, text=True, timeout=30
        )
        return {
            line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")
        }

    return count(str(BIN / "accelerate"), *words) - count("-c", "pass")


@pytest.mark.parametrize(
    ("words", "most"),
    [(["--help"], 10), (["launch", "--help"], 60), (["launch", "--cpu", "--dry_run", "x.py"], 108)],
    ids=["help", "launch help", "dry run"],
)
def test_start_up_imports_little(environ: dict[str, str], words: list[str], most: int) -> None:
    found = modules(environ, *words)
    assert found, "nothing was counted"
    assert not found & HEAVY
    assert len(found) <= most, sorted(found)


def test_a_launch_of_one_script_imports_little(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "x.py").touch()
    found = modules(environ, "launch", "--cpu", str(tmp_path / "x.py"))
    assert "accel_launch.running.process" in found
    assert not found & HEAVY
    assert not found & {"signal", "enum", "importlib", "collections"}


def test_the_guard_sees_a_heavy_import(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("num_processes: 1\n")
    assert "yaml" in modules(environ, "launch", "--config_file", str(tmp_path / "c.yaml"), "--dry_run", "x.py")


AT_FORK = """
import os, sys
bare, told = {*sys.modules}, []
def hear(event, arguments):
    if event == "os.fork" and not told:
        told.append(event)
        os.write(2, ("loaded: " + " ".join(sys.modules.keys() - bare) + "\\n").encode())
sys.addaudithook(hear)
from accel_cli.main import main
sys.exit(main())
"""


def test_ranks_start_before_the_rest_is_imported(environ: dict[str, str], tmp_path: Path) -> None:
    """Each rank waits for what is imported before the first fork; what looks after the ranks comes later."""
    (tmp_path / "x.py").touch()
    words = ("launch", "--cpu", "--num_processes", "2", str(tmp_path / "x.py"))
    done = subprocess.run(
        [sys.executable, "-c", AT_FORK, *words], env=environ, capture_output=True, text=True, timeout=60
    )
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("loaded: "))
    found = set(line.split()[1:])
    assert "accel_launch.running.guardian.starting" in found
    assert not found & (HEAVY | {"signal", "enum", "collections", "functools", "contextlib", "ctypes", "struct"})
    assert not any(name.startswith("accel_launch.running.onlookers") for name in found)
    assert len(found) <= 135, sorted(found)
