"""The command table and its two ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from accel_cli.table import COMMANDS
from tests.conftest import BIN, Run


def test_no_command_is_help_and_2(accelerate: Run) -> None:
    done = accelerate()
    assert done.returncode == 2
    assert "usage: accelerate COMMAND" in done.stderr


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help(accelerate: Run, word: str) -> None:
    done = accelerate(word)
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)


def test_an_unknown_command(accelerate: Run) -> None:
    done = accelerate("lanch")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "accelerate: there is no command 'lanch'; did you mean 'launch'?\n"


def test_version_names_every_package(accelerate: Run) -> None:
    done = accelerate("--version")
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == [f"accel-{name}" for name in ("cli", "config", "launch", "estimate", "tpu", "sagemaker")]


@pytest.mark.parametrize("words", [[str(BIN / "accel")], [sys.executable, "-m", "accel_cli"]])
def test_other_names(words: list[str]) -> None:
    done = subprocess.run([*words, "--version"], capture_output=True, text=True, timeout=30, check=True)
    assert "accel-cli" in done.stdout


@pytest.mark.parametrize("words", ["", "--help", "lunch", "env", "completion bash", "launch --help"])
def test_a_reader_that_goes_away_gets_no_traceback(words: str, environ: dict[str, str]) -> None:
    """Whichever stream it read: neither a traceback nor what the interpreter says as it ends."""
    environ.pop("PYTHONUNBUFFERED", None)  # what is left in a buffer is written as the interpreter ends
    read, write = os.pipe()
    os.close(read)
    err = words in ("", "lunch")
    try:
        done = subprocess.run(
            [BIN / "accelerate", *words.split()], env=environ, timeout=30, text=True,
            stdout=subprocess.PIPE if err else write, stderr=write if err else subprocess.PIPE,
        )  # fmt: skip
    finally:
        os.close(write)
    assert done.returncode == 141
    assert not (done.stdout if err else done.stderr)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no file that is always full")
@pytest.mark.parametrize("words", ["--help", "--version", "env", "launch --help", "test --help"])
def test_a_full_disk_is_a_sentence(words: str, environ: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [BIN / "accelerate", *words.split()]
        done = subprocess.run(command, env=environ, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr.endswith(": the output can't be written: No space left on device\n")
    assert len(done.stderr.splitlines()) == 1


def test_launch_help_shows_every_section_and_flag(accelerate: Run) -> None:
    from accel_config import CATALOGUE

    done = accelerate("launch", "--help")
    assert done.returncode == 0
    for section in CATALOGUE.sections:
        assert f"{section.title}:\n" in done.stdout
    for one in CATALOGUE.settings:
        assert (f"--{one.name}" in done.stdout) == one.flag
