"""`accelerate env`: the facts for a bug report, and no secret among them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import BIN, Run, needs_torch

CONFIG = "num_processes: 2\ntpu_env: [HF_TOKEN=hidden1, PLAIN=hidden0]\ncommands: ['export MY_API_KEY=hidden2 && ls']\nadditional_args: {secret_key: hidden3, a: b}\n"


def test_the_facts_in_their_order(accelerate: Run) -> None:
    done = accelerate("env")
    assert (done.returncode, done.stderr) == (0, "")
    names = [line.removeprefix("- ").partition(":")[0] for line in done.stdout.splitlines() if line.startswith("- ")]
    wanted = ["`accel-cli` version", "`accel-config` version", "`torch` version", "Platform", "Python version",
              "System RAM", "cgroup memory", "Devices", "NVIDIA driver", "`Accelerate` default config"]  # fmt: skip
    assert [name for name in names if name in wanted] == wanted
    assert done.stdout.endswith("- `Accelerate` default config: not found\n")


def test_json(accelerate: Run, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG)
    found = json.loads(accelerate("env", "--json", "--config_file", "c.yaml").stdout)
    assert found["accel-config version"] == "0.1.0"
    assert found["Accelerate config passed"]["num_processes"] == 2


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_no_secret_is_shown(accelerate: Run, tmp_path: Path, form: list[str]) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG)
    secret = {
        "HF_TOKEN": "hidden4",
        "ACCELERATE_LAUNCH_AWS_SECRET_ACCESS_KEY": "hidden5",
        "HF_HUB": "http://u:hidden6@h",
        "ACCELERATE_LAUNCH_ENV": "A=hidden7",
        "TORCH_PROXY": "http://hidden8@h",
        "HF_HEADER": "Bearer hidden9",
        "SLURM_JWT": "hidden10",
    }
    done = accelerate("env", *form, "--config_file", "c.yaml", env=secret)
    assert done.returncode == 0
    assert "hidden" not in done.stdout + done.stderr
    assert "HF_TOKEN" in done.stdout


def test_a_broken_file_is_part_of_the_report(accelerate: Run, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("a: [\n")
    done = accelerate("env", "--config_file", "c.yaml")
    assert done.returncode == 0
    assert "isn't valid YAML" in done.stdout
    (tmp_path / "c.yaml").write_text("use_cpu: hidden\n")
    done = accelerate("env", "--config_file", "c.yaml")
    assert "problems: use_cpu must be true or false\n" in done.stdout


def test_a_variable_names_the_file_here_too(accelerate: Run, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("num_processes: 7\n")
    done = accelerate("env", env={"ACCELERATE_CONFIG_FILE": "c.yaml"})
    assert "\t- num_processes: 7\n" in done.stdout
    done = accelerate("env", env={"ACCELERATE_CONFIG_FILE": "nowhere.yaml"})
    assert done.stderr == "accelerate env: ACCELERATE_CONFIG_FILE: the config file nowhere.yaml doesn't exist\n"


def test_a_missing_file_is_named(accelerate: Run) -> None:
    done = accelerate("env", "--config_file", "nowhere.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "accelerate env: --config_file: the config file nowhere.yaml doesn't exist\n"


@pytest.mark.exhaustive
@needs_torch
def test_torch_is_imported_only_to_be_asked(environ: dict[str, str]) -> None:
    command = [sys.executable, "-X", "importtime", str(BIN / "accelerate"), "env"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=True)
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "accel_launch.machine.cgroup" in modules
    assert "torch" not in modules
    asked = subprocess.run([*command[:1], *command[3:], "--torch", "--json"], env=environ, capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
    assert json.loads(asked.stdout)["torch"]["accelerator"]


def test_as_a_module(environ: dict[str, str]) -> None:
    command = [sys.executable, "-m", "accel_cli.commands.env"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=True)
    assert "- Platform:" in done.stdout
