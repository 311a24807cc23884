"""The `config` command as users type it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import accel_config
from tests.conftest import BIN, Run
from tests.schedule import sampled

FILE = "# mine\ndistributed_type: MULTI_CPU\nnum_processes: 2 # two\nmixed_precison: no\n"


@pytest.fixture
def config(accelerate: Run, tmp_path: Path) -> Run:
    (tmp_path / "c.yaml").write_text(FILE.replace("precison", "precision"))

    def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
        return accelerate("config", *words, **options)

    return run


def test_validate(config: Run, tmp_path: Path) -> None:
    done = config("validate", "--config_file", "c.yaml")
    assert (done.returncode, done.stdout, done.stderr) == (0, "c.yaml: valid\n", "")
    (tmp_path / "c.yaml").write_text(FILE)
    done = config("validate", "--config-file", "c.yaml")
    message = "c.yaml:4: unknown key 'mixed_precison'. Did you mean 'mixed_precision'?\n"
    assert (done.returncode, done.stdout) == (1, message)
    (tmp_path / "c.yaml").write_text("fsdp_config: {x: 1}\n")
    assert config("validate", "--config_file", "c.yaml").returncode == 0
    assert config("validate", "--strict", "--config_file", "c.yaml").returncode == 1


@pytest.mark.parametrize("command", [["validate"], ["update"]])
def test_without_a_file_the_way_out_is_told(config: Run, command: list[str]) -> None:
    done = config(*command)
    assert done.returncode == 2
    assert "doesn't exist; `accelerate config` writes one" in done.stderr
    done = config(*command, "--config_file", "nowhere.yaml")
    assert "--config_file: the config file nowhere.yaml doesn't exist" in done.stderr


def test_show_says_where_each_value_comes_from(config: Run, tmp_path: Path) -> None:
    environ = {"ACCELERATE_CONFIG_FILE": "c.yaml", "ACCELERATE_LAUNCH_ZERO_STAGE": "3", "ACCELERATE_LAUNCH_AWS_SECRET_ACCESS_KEY": "sekrit"}  # fmt: skip
    done = config("show", env=environ)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["num_processes", "2", "c.yaml:3"] in rows
    assert ["deepspeed_config.zero_stage", "3", "ACCELERATE_LAUNCH_ZERO_STAGE"] in rows
    assert not any(row[0] == "region" for row in rows)
    assert rows[-1][1:] == ["more", "are", "built", "in:", "--all", "shows", "them"]
    everything = [line.split() for line in config("show", "--all", env=environ).stdout.splitlines()]
    assert ["region", "us-east-1", "built", "in"] in everything
    assert len(everything) == len(rows) - 1 + int(rows[-1][0])
    assert "sekrit" not in done.stdout
    found = json.loads(config("show", "--json", env=environ).stdout)
    assert found["config_file"] == {"value": "c.yaml", "origin": "ACCELERATE_CONFIG_FILE"}
    assert found["aws_secret_access_key"]["value"] == "***"


def test_precedence_is_that_of_launch_for_every_setting(config: Run, accelerate: Run, tmp_path: Path) -> None:
    (tmp_path / "t.py").touch()
    environ = {"ACCELERATE_LAUNCH_NUM_PROCESSES": "3", "ACCELERATE_CONFIG_FILE": "c.yaml"}
    shown = json.loads(config("show", "--json", env=environ).stdout)
    planned = json.loads(accelerate("launch", "--dry_run", "--json", "t.py", env=environ).stdout)["settings"]
    assert (
        shown["num_processes"]
        == {"value": 3, "origin": "ACCELERATE_LAUNCH_NUM_PROCESSES"}
        == planned["num_processes"]
    )
    assert shown["distributed_type"] == planned["distributed_type"]


def test_get(config: Run) -> None:
    for key, value in (
        ("num_processes", "2"),
        ("fsdp_config.fsdp_version", "1"),
        ("zero_stage", ""),
        ("use_cpu", "false"),
    ):
        done = config("get", key, "--config_file", "c.yaml")
        assert (done.returncode, done.stdout) == (0, value + "\n")
    done = config("get", "num_processes", "zero_stage", "use_cpu", "--config_file", "c.yaml")
    assert done.stdout == "2\n\nfalse\n", "a line for each, in their order"
    assert config("get", "use_cpu", "no_such", "--config_file", "c.yaml").stdout == ""
    assert config("get", "num_machines").stdout == "1\n"  # there is no file at all
    done = config("get", "num_machine", "--config_file", "c.yaml")
    assert done.returncode == 2
    assert "Did you mean 'num_machines'?" in done.stderr


@pytest.mark.parametrize("words", ["update", "show", "get nice", "validate"])
def test_an_unknown_key_comes_with_a_way_out(config: Run, tmp_path: Path, words: str) -> None:
    (tmp_path / "c.yaml").write_text("quux: 1\n")
    done = config(*words.split(), "--config_file", "c.yaml")
    way = "c.yaml:1: unknown key 'quux'; delete it, or choose one of those that `config schema` lists\n"
    assert way in done.stdout + done.stderr
    assert "'quux' isn't a setting; `config schema` lists all keys" in config("set", "quux", "1").stderr


def test_set(config: Run, tmp_path: Path) -> None:
    done = config("set", "num_processes", "4", "fsdp_config.fsdp_version", "2", "--config_file", "c.yaml")
    assert done.stdout == "num_processes: 2 -> 4 (c.yaml:3)\nfsdp_config.fsdp_version: unset -> 2 (c.yaml:6)\n"
    assert (tmp_path / "c.yaml").read_text() == (
        "# mine\ndistributed_type: MULTI_CPU\nnum_processes: 4 # two\nmixed_precision: no\nfsdp_config:\n  fsdp_version: 2\n"
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["num_processes", "no"], "must be a whole number"),
        (["num_processes"], "has no value"),
        (["num_proceses", "2"], "Did you mean 'num_processes'?"),
        (["NUM_PROCESSES", "2"], "Did you mean 'num_processes'?"),
        (["dry_run", "true"], "can't be set in a config file"),
        (["aws_secret_access_key", "x"], "can't be set in a config file"),
        (["use_cpu", "true", "main_process_port", "-1"], "from 0 to 65535"),
        (
            ["fsdp_config", "{}"],
            "fsdp_config holds several settings; name one of them with a dot, such as fsdp_config.",
        ),
        (["main_process_ip", "\udcff"], "it isn't text in the terminal's encoding"),
    ],
)
def test_set_refuses_and_leaves_the_file(config: Run, tmp_path: Path, words: list[str], why: str) -> None:
    before = (tmp_path / "c.yaml").read_bytes()
    done = config("set", "--config_file", "c.yaml", "--", *words)
    assert done.returncode == 2
    assert why in done.stderr
    assert (tmp_path / "c.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "keys", "left"),
    [
        ("# a\nnum_processes: 2 # b\n# c\nnum_machines: 1 # d\n", ["num_processes"], "# a\n# c\nnum_machines: 1 # d\n"),
        ("debug: true\nnum_processes: null\n", ["debug", "num_processes"], ""),
        (
            "fsdp_config: # a\n  # b\n  fsdp_version: 2\n  fsdp_offload_params: true # c\n",
            ["fsdp_config.fsdp_version"],
            "fsdp_config: # a\n  # b\n  fsdp_offload_params: true # c\n",
        ),
        ("fsdp_config:\n  fsdp_version: 2\ndebug: true\n", ["fsdp_version"], "fsdp_config:\ndebug: true\n"),
        ("fsdp_config: {fsdp_version: 2, fsdp_offload_params: no}\n", ["fsdp_version"], "fsdp_config: {fsdp_offload_params: no}\n"),
        ("debug: true # a\n", ["num_processes"], "debug: true # a\n"),
        ("", ["num_processes"], ""),
    ],
)  # fmt: skip
def test_null_removes_the_key_and_nothing_else(
    config: Run, tmp_path: Path, text: str, keys: list[str], left: str
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    done = config("set", "--config_file", "c.yaml", *(word for key in keys for word in (key, "null")))
    assert done.returncode == 0
    assert done.stdout.count("-> unset\n") == len(keys)
    assert (tmp_path / "c.yaml").read_text() == left
    assert config("validate", "--config_file", "c.yaml").returncode == 0


def test_null_removes_a_key_from_json_and_refuses_one_that_is_merged_in(config: Run, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"debug": true, "num_processes": 2}')
    assert config("set", "--config_file", "c.json", "num_processes", "null").returncode == 0
    assert (tmp_path / "c.json").read_text() == '{"debug": true}'
    (tmp_path / "c.yaml").write_text("<<: {debug: true}\n")
    done = config("set", "--config_file", "c.yaml", "debug", "null")
    assert (done.returncode, "edit the file by hand" in done.stderr) == (2, True)


def test_what_does_not_print_is_shown_in_escapes(config: Run) -> None:
    done = config("set", "main_process_ip", "a\x1b[2Jé\n", "num_processes", "null", "--config_file", "c.yaml")
    told = "main_process_ip: unset -> a\\x1b[2Jé\\n (c.yaml:5)\nnum_processes: 2 -> unset\n"
    assert done.stdout == told
    assert "a\\x1b[2Jé\\n" in config("show", "--config_file", "c.yaml").stdout
    assert config("get", "main_process_ip", "--config_file", "c.yaml").stdout == "a\x1b[2Jé\n\n"  # for programs


def test_set_makes_a_file(config: Run, tmp_path: Path) -> None:
    assert config("set", "gpu_ids", "0", "--config_file", "new/c.yaml").returncode == 0
    assert yaml.safe_load((tmp_path / "new/c.yaml").read_text()) == {"gpu_ids": "0"}


def test_path(config: Run, environ: dict[str, str]) -> None:
    assert config("path").stdout == environ["HF_HOME"] + "/accelerate/default_config.yaml\n"
    assert config("path", env={"HF_HOME": "", "XDG_CACHE_HOME": "", "HOME": "/h"}).stdout == "/h/.cache/huggingface/accelerate/default_config.yaml\n"  # fmt: skip
    assert config("path", env={"ACCELERATE_CONFIG_FILE": "e.yaml"}).stdout == "e.yaml\n"
    assert config("--config_file", "before.yaml", "path").stdout == "before.yaml\n"


@pytest.mark.parametrize("words", [["path"], ["set", "debug", "yes"], ["default"], ["--yes"]])
def test_an_empty_path_is_none(config: Run, words: list[str]) -> None:
    done = config(*words, "--config_file", "")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "accelerate config: --config_file needs a path, and this one is empty\n"


def test_schema(config: Run, tmp_path: Path) -> None:
    assert json.loads(config("schema").stdout)["properties"]["fsdp_config"]
    done = config("schema", "--output", "s.json")
    assert f"# yaml-language-server: $schema={tmp_path}/s.json\n" in done.stdout
    assert json.loads((tmp_path / "s.json").read_text())


@pytest.mark.parametrize("name", sampled(["c2.yaml", "c2.json"], every=2))
def test_default(config: Run, tmp_path: Path, name: str) -> None:
    words = ("--config_file", f"new/{name}", "default", "--mixed_precision", "bf16")
    done = config(*words)
    assert (done.returncode, done.stdout) == (0, f"The config file is saved at new/{name}\n")
    text = (tmp_path / "new" / name).read_text()
    read = json.loads(text) if name.endswith("json") else yaml.safe_load(text)
    assert read["mixed_precision"] == "bf16"
    assert text.startswith("{") == name.endswith("json")
    assert config(*words).returncode == 0
    kept = config(*words[:3])  # scripts call it before each launch, and check the status
    assert (kept.returncode, kept.stderr) == (0, "")
    assert kept.stdout == f"new/{name} exists and has other values, so it isn't changed; --overwrite replaces it\n"
    assert (tmp_path / "new" / name).read_text() == text
    assert config(*words[:3], "--overwrite").returncode == 0
    assert (tmp_path / "new" / name).read_text() != text


@pytest.mark.parametrize("words", [["default", "--mixed_precision", "fp4"], ["nope"], ["get"], ["--nope"]])
def test_usage(config: Run, words: list[str]) -> None:
    done = config(*words)
    assert done.returncode == 2
    assert "usage: accelerate config" in done.stderr


def test_without_a_terminal_the_wizard_names_the_ways_out(config: Run, tmp_path: Path) -> None:
    done = config()
    assert (done.returncode, done.stdout) == (2, "")
    assert "--yes" in done.stderr
    assert "config set" in done.stderr
    done = config("--yes", "--config_file", "y.yaml")
    assert done.returncode == 0
    assert "Launch with it: accelerate launch --config_file y.yaml SCRIPT\n" in done.stdout
    assert yaml.safe_load((tmp_path / "y.yaml").read_text())["compute_environment"] == "LOCAL_MACHINE"


def test_by_its_own_name(environ: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [BIN / "accel-config", "path"], env=environ, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.endswith("default_config.yaml\n")
    check = "import sys, accel_config.cli; sys.exit('argparse' in sys.modules or 'yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], env=environ, timeout=30, check=False).returncode == 0


def test_version(config: Run) -> None:
    done = config("--version")
    assert (done.returncode, done.stdout) == (0, f"accel-config {version('accel-config')}\n")
    assert accel_config.__version__ == version("accel-config")
    with pytest.raises(AttributeError, match="no attribute '__versions__'"):
        accel_config.__versions__  # noqa: B018 # pyright: ignore[reportUnknownMemberType]
