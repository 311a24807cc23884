"""What is printed, to a standard output of any kind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import BIN, Run

COMMANDS = [
    "config show",
    "config schema",
    "config path",
    "env",
    "completion zsh",
    "launch --help",
    "--version",
    "--help",
]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", [COMMANDS[0], "launch --help", "--version", "sagemaker --help", "test --help"])
def test_a_reader_that_went_away_is_not_told(environ: dict[str, str], command: str, unbuffered: str) -> None:
    words = [BIN / "accelerate", *command.split()]
    with subprocess.Popen(
        words, env={**environ, "PYTHONUNBUFFERED": unbuffered}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_one_message(environ: dict[str, str], command: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [BIN / "accelerate", *command.split()],
            env=environ,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
        )
    speaker = "accelerate" if command.startswith("-") else f"accelerate {command.split(maxsplit=1)[0]}"
    assert (done.returncode, done.stderr) == (1, f"{speaker}: the output can't be written: No space left on device\n")


def test_no_standard_output_at_all(environ: dict[str, str]) -> None:
    shell = '"$0" config show >&- && "$0" env >&-'
    done = subprocess.run(["/bin/sh", "-c", shell, BIN / "accelerate"], env=environ, capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")


def test_letters_that_the_terminal_lacks_are_escaped(environ: dict[str, str]) -> None:
    code = "from accel_config.showing.console import show; show('Zürich \\u2713\\n')"
    narrow = {**environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-c", code], env=narrow, capture_output=True, timeout=30, check=True)
    assert done.stdout == "Zürich \\u2713\n".encode("latin-1")


def test_a_width_of_thousands_of_digits_is_none(environ: dict[str, str]) -> None:
    done = subprocess.run(
        [BIN / "accelerate", "launch", "--help"],
        env={**environ, "COLUMNS": "9" * 5000},
        capture_output=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_explain_as_json(accelerate: Run) -> None:
    words = ("--json", "--num_processes", "2")
    some, every, plan = (
        json.loads(accelerate("launch", *more, *words, "t.py").stdout)
        for more in (["--explain"], ["--explain", "all"], ["--dry_run", "--explain"])
    )
    assert some["num_processes"] == {"value": 2, "origin": "--num_processes"}
    assert "num_machines" not in some
    assert every["num_machines"]["value"] == 1
    assert plan["settings"] == every | {
        "dry_run": plan["settings"]["dry_run"],
        "explain": plan["settings"]["explain"],
    }
