"""The command table and its two ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from accel_cli.table import COMMANDS
from tests.conftest import BIN, Run
from tests.launch.processes import PAUSE


def test_no_command_is_help_and_2(accelerate: Run) -> None:
    done = accelerate()
    assert done.returncode == 2
    assert "usage: accelerate COMMAND" in done.stderr


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help(accelerate: Run, word: str) -> None:
    done = accelerate(word)
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)


def test_help_and_messages_say_the_name_that_was_typed(environ: dict[str, str]) -> None:
    def typed(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([BIN / "accel", *words], env=environ, capture_output=True, text=True, timeout=30)

    assert typed("--help").stdout.startswith("usage: accel COMMAND [arguments]\n")
    said = " ".join(typed("--help").stdout.split())
    assert "accelerate" not in said.replace("Show or change whose command `accelerate` is", "")
    assert typed("lanch").stderr == "accel: 'lanch' isn't a command. Did you mean 'launch'?\n"
    assert "'rm' isn't a command; records of runs go by --record_age and" in typed("rm", "old").stderr
    assert typed("launch", "--help").stdout.startswith("usage: accel launch [flags] SCRIPT")
    assert typed("config", "nope").stderr.startswith("usage: accel config ")


def test_an_unknown_command(accelerate: Run) -> None:
    done = accelerate("lanch")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "accelerate: 'lanch' isn't a command. Did you mean 'launch'?\n"


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


def test_two_hyphens_are_a_value_where_a_flag_has_them(accelerate: Run) -> None:
    """Before Python 3.13, argparse takes them for the separator, and gives the flag an empty list."""
    done = accelerate("env", "--config_file=--")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "--" in done.stderr


@pytest.mark.parametrize("command", [*COMMANDS])
def test_ctrl_c_while_a_command_is_imported_is_a_quiet_end(
    command: str, environ: dict[str, str], tmp_path: Path
) -> None:
    """Its shell learns of the signal, as of any program that doesn't handle it."""
    (tmp_path / "accel_config.py").write_text("import time\nprint('imported', flush=True)\n" + PAUSE)
    with subprocess.Popen(
        [BIN / "accelerate", command],
        env=environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as popen:
        assert popen.stdout is not None
        popen.stdout.readline()
        popen.send_signal(signal.SIGINT)
        _out, err = popen.communicate(timeout=20)
    assert (popen.returncode, err) == (-signal.SIGINT, "")
