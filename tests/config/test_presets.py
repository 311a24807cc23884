"""The presets: files that both launchers read, a layer of a launch, and what the wizard proposes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from accel_config import CATALOGUE, layers, resolve, split
from accel_config.asking import wizard
from accel_config.catalogue import Fsdp, Precision, Resources
from accel_config.catalogue.launcher import PRESETS
from accel_config.checking.file import FileReport, check
from accel_config.reading import presets
from accel_config.settings.machine import MachineFacts
from accel_launch import plan
from tests.calling import call
from tests.config.test_own import read_by_the_library
from tests.conftest import Resolve
from tests.launch.hosts import host

MATCHING = {"hsdp": ("--main_process_ip", "10.0.0.7", "--machine_rank", "0")}
PROCESSES = {"hsdp": 16, "cpu": 1}


def test_every_preset_is_a_file_of_the_package_and_every_file_a_preset() -> None:
    assert {path.stem for path in Path(presets.FOLDER).iterdir()} == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_valid_and_says_what_it_is_for(name: str) -> None:
    assert check(CATALOGUE, presets.path_of(name)) == FileReport(())
    lines = Path(presets.path_of(name)).read_text().splitlines()
    assert lines[0].startswith(f"# {name}: ")
    chosen = [line for line in lines if re.match(r"[ a-z0-9_]+: .", line) and "#" not in line]
    plain = ("compute_environment", "distributed_type", "use_cpu", "num_processes", "zero_stage", "offload_param_dev")
    assert not [line for line in chosen if not line.strip().startswith(plain)], "a choice without its reason"


@pytest.mark.exhaustive
def test_the_library_reads_every_preset() -> None:
    said = read_by_the_library({name: presets.text(name, 8) for name in PRESETS})
    assert said == dict.fromkeys(PRESETS, "")


@pytest.mark.parametrize("name", PRESETS)
def test_a_matching_machine_has_a_plan_without_notes(settings: Resolve, tmp_path: Path, name: str) -> None:
    (tmp_path / "train.py").touch()
    made = settings("--preset", name, *MATCHING.get(name, ()))
    found = plan(made, host(8).replace(cwd=str(tmp_path)), ["train.py"])
    assert found.notes == ()
    assert f"preset {name}" in found.summary
    given = found.commands[0].env
    assert given["ACCELERATE_MIXED_PRECISION"] == ("no" if name == "cpu" else "bf16")
    assert (given.get("ACCELERATE_USE_CPU") == "True") == (name == "cpu")


def test_flags_and_the_file_win_over_a_preset(settings: Resolve) -> None:
    file = "distributed_type: FSDP\nmixed_precision: fp16\nfsdp_config: {fsdp_version: 2}\n"
    made = settings("--preset", "fsdp2", "--fsdp_offload_params", "true", file=file)
    assert (made[Precision].mixed_precision, made[Fsdp].fsdp_offload_params) == ("fp16", True)
    assert made[Fsdp].fsdp_auto_wrap_policy == "TRANSFORMER_BASED_WRAP"
    assert made.origin("fsdp_auto_wrap_policy") == "preset fsdp2"
    assert made.origin("fsdp_version").endswith("config.yaml:3")
    (note,) = made.notes
    assert note.endswith(
        "config.yaml wins over the preset fsdp2: mixed_precision fp16 instead of bf16; flags win over both"
    )
    by_variable = settings(environ={"ACCELERATE_LAUNCH_PRESET": "zero3"})
    assert (by_variable.value("zero_stage").value, by_variable.origin("zero_stage")) == (3, "preset zero3")


def test_a_preset_takes_the_place_of_the_default_file(tmp_path: Path) -> None:
    home = tmp_path / "hf" / "accelerate"
    home.mkdir(parents=True)
    (home / "default_config.yaml").write_text("distributed_type: NO\nmixed_precision: fp16\n")
    found = layers(CATALOGUE, split(CATALOGUE, ["--preset", "ddp", "t.py"]), {"HF_HOME": str(tmp_path / "hf")})
    assert (found.config_file, found.notes) == (None, ())
    assert resolve(CATALOGUE, found.values)[Precision].mixed_precision == "bf16"


def test_explain_and_help_and_completion_know_presets(tmp_path: Path) -> None:
    shown = call(["launch", "--preset", "hsdp", "--explain", "t.py"], tmp_path).out.decode()
    assert re.search(r"^num_processes +16 +preset hsdp$", shown, re.MULTILINE)
    for words in (["launch", "--help", "preset"], ["config", "--help"], ["config", "default", "--help"]):
        assert "fsdp2-offload" in call(words, tmp_path).out.decode()
    told = call(["launch", "--preset", "fsdp", "t.py"], tmp_path)
    assert (told.status, b"Did you mean 'fsdp2'?" in told.err) == (2, True)
    script = call(["completion", "bash"], tmp_path).out.decode()
    assert re.search(rf'"launch --preset"\) words="{" ".join(PRESETS)}"', script)
    assert re.search(rf'"config --preset"\) words="{" ".join(PRESETS)}"', script)


def test_a_launch_without_a_preset_imports_nothing_of_them(tmp_path: Path) -> None:
    code = "import sys\nfrom accel_config import CATALOGUE, layers, split\nlayers(CATALOGUE, split(CATALOGUE, sys.argv[1:]), {'HF_HOME': '/nowhere'})\nprint('accel_config.reading.presets' in sys.modules)"
    for words, imported in ((["t.py"], "False\n"), (["--preset", "cpu", "t.py"], "True\n")):
        done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout == imported


def test_default_writes_the_preset_with_its_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def here() -> MachineFacts:
        return MachineFacts("GPU", 4, 16)

    monkeypatch.setattr(wizard, "this_machine", here)
    for name in PRESETS:
        text = wizard.of_preset("c.yaml", name)
        assert yaml.safe_load(text)["num_processes"] == PROCESSES.get(name, 4)
        assert text.count("#") >= Path(presets.path_of(name)).read_text().count("#") - 1
        assert yaml.safe_load(wizard.of_preset("c.json", name)) == yaml.safe_load(text)


def test_default_never_overwrites_without_being_told(tmp_path: Path) -> None:
    words = ["config", "default", "--config_file", "c.yaml"]
    assert call([*words, "--preset", "zero3"], tmp_path).status == 0
    before = (tmp_path / "c.yaml").read_text()
    assert b"exists and has other values" in call([*words, "--preset", "ddp"], tmp_path).out
    assert (tmp_path / "c.yaml").read_text() == before
    assert call([*words, "--preset", "ddp", "--overwrite"], tmp_path).status == 0
    assert (tmp_path / "c.yaml").read_text().startswith("# ddp: ")
    both = call([*words, "--preset", "ddp", "--mixed_precision", "fp16"], tmp_path)
    assert (both.status, b"`accelerate config set mixed_precision fp16`" in both.err) == (2, True)


def test_the_wizard_proposes_a_preset(settings: Resolve, tmp_path: Path) -> None:
    assert call(["config", "--yes", "--preset", "fsdp2-offload", "--config_file", "c.yaml"], tmp_path).status == 0
    made = settings(file=(tmp_path / "c.yaml").read_text())
    assert (made[Fsdp].fsdp_version, made[Fsdp].fsdp_offload_params) == (2, True)
    assert made[Precision].mixed_precision == "bf16"
    assert made[Resources].num_processes == 1


@pytest.mark.parametrize("more", [[], ["--preset", "ddp"], ["--overwrite"]])
def test_default_does_not_take_a_folder_for_a_file(tmp_path: Path, more: list[str]) -> None:
    (tmp_path / "d").mkdir()
    done = call(["config", "default", "--config_file", "d", *more], tmp_path)
    assert (done.status, done.out) == (1, b"")
    assert b"d is a folder, so it can't be replaced" in done.err
