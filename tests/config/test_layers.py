"""Which layer wins, and where a value came from."""

from pathlib import Path

import pytest

from accel_config import CATALOGUE, SettingError, layers, split
from accel_config.catalogue import Fsdp, Resources
from tests.conftest import Resolve


def test_flag_beats_environment_beats_file_beats_built_in(settings: Resolve) -> None:
    file = "fsdp_config: {fsdp_version: 1, fsdp_offload_params: true, fsdp_forward_prefetch: true}"
    made = settings(
        "--fsdp_version", "2",
        file=file,
        environ={"ACCELERATE_LAUNCH_FSDP_VERSION": "1", "ACCELERATE_LAUNCH_FSDP_OFFLOAD_PARAMS": "false"},
    )  # fmt: skip
    assert made[Fsdp].fsdp_version == 2
    assert made.origin("fsdp_version") == "--fsdp_version"
    assert made[Fsdp].fsdp_offload_params is False
    assert made.origin("fsdp_offload_params") == "ACCELERATE_LAUNCH_FSDP_OFFLOAD_PARAMS"
    assert made[Fsdp].fsdp_forward_prefetch is True
    assert made.origin("fsdp_forward_prefetch").endswith("config.yaml:1")
    assert made[Fsdp].fsdp_use_orig_params is True
    assert made.origin("fsdp_use_orig_params") == "built in"


def default_file(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "accelerate" / "default_config.yaml"
    path.parent.mkdir()
    path.write_text(text)
    return {"HF_HOME": str(tmp_path)}


def test_the_default_file_is_read_if_it_is_there(tmp_path: Path, settings: Resolve) -> None:
    environ = default_file(tmp_path, "num_processes: 3\n")
    assert settings(environ=environ)[Resources].num_processes == 3


@pytest.mark.parametrize(
    ("flags", "more"), [(["--cpu"], {}), ([], {"ACCELERATE_LAUNCH_CPU": "1"})], ids=["flag", "variable"]
)
def test_cpu_leaves_the_default_file_alone(
    tmp_path: Path, settings: Resolve, flags: list[str], more: dict[str, str]
) -> None:
    environ = default_file(tmp_path, "num_processes: 3\n") | more
    assert settings(*flags, environ=environ)[Resources].num_processes is None


def test_cpu_reads_a_file_that_is_named(settings: Resolve) -> None:
    assert settings("--cpu", file="num_processes: 3")[Resources].num_processes == 3


@pytest.mark.parametrize("variable", ["ACCELERATE_CONFIG_FILE", "ACCELERATE_LAUNCH_CONFIG_FILE"])
def test_a_variable_names_the_file(tmp_path: Path, settings: Resolve, variable: str) -> None:
    (tmp_path / "own.yaml").write_text("num_processes: 5\n")
    assert settings(environ={variable: str(tmp_path / "own.yaml")})[Resources].num_processes == 5


@pytest.mark.parametrize(("name", "what"), [("nope.yaml", "doesn't exist"), (".", "is a folder")])
def test_a_named_file_must_be_there(tmp_path: Path, name: str, what: str) -> None:
    typed = split(CATALOGUE, ["--config_file", str(tmp_path / name)])
    with pytest.raises(SettingError, match=f"--config_file: the config file .* {what}"):
        layers(CATALOGUE, typed, {})


def test_all_problems_of_a_file_are_told_at_once(settings: Resolve) -> None:
    with pytest.raises(SettingError) as refusal:
        settings(file="num_processes: x\nnope: 1\n")
    assert str(refusal.value).count("config.yaml:") == 2
