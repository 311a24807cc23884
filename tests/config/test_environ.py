"""Settings from the environment, and the variables that scripts read."""

import pytest

from accel_config import CATALOGUE, SettingError, Settings
from accel_config.reading.environ import exported, read
from accel_config.settings.declaration import Setting
from accel_config.settings.readers import Duration
from accel_config.settings.span import Span
from tests.conftest import Resolve


@pytest.mark.parametrize("one", CATALOGUE.settings, ids=lambda one: one.name)
def test_every_setting_has_a_variable(one: Setting) -> None:
    raw = {
        bool: "true,true,true" if one.many else "true",
        int: "1",
        Span: "1:2",
        float: "1",
        Duration: "1m",
        dict: '{"a": 1}',
    }.get(one.kind, "text")
    raw = "A=1" if one.pairs else raw
    raw = str(one.choices[-1]) if one.choices else raw
    found, _notes = read(CATALOGUE, {f"ACCELERATE_LAUNCH_{one.name.upper()}": raw})
    assert list(found) == [one.name]
    assert found[one.name].origin.text == f"ACCELERATE_LAUNCH_{one.name.upper()}"


def test_an_empty_variable_is_no_variable() -> None:
    assert read(CATALOGUE, {"ACCELERATE_LAUNCH_CPU": ""}) == ({}, [])


def test_a_list_is_separated_by_commas() -> None:
    found, _notes = read(CATALOGUE, {"ACCELERATE_LAUNCH_VM": "a,b"})
    assert found["vm"].value == ("a", "b")


def test_a_wrong_value_names_the_variable() -> None:
    with pytest.raises(SettingError, match="ACCELERATE_LAUNCH_NUM_PROCESSES: num_processes must be"):
        read(CATALOGUE, {"ACCELERATE_LAUNCH_NUM_PROCESSES": "many"})


def test_an_unknown_name_is_told() -> None:
    _found, notes = read(CATALOGUE, {"ACCELERATE_LAUNCH_NUM_PROCESES": "2"})
    assert "Did you mean 'ACCELERATE_LAUNCH_NUM_PROCESSES'" in notes[0]


def test_what_scripts_read_sets_nothing(settings: Resolve) -> None:
    made = settings(
        environ={"FSDP_VERSION": "2", "ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_USE_FSDP": "true"}
    )
    assert not any(value.given for _one, value in made)


def variables(made: Settings) -> dict[str, str]:
    return {name: text for name, text, _origin in exported(made)}


def test_a_section_speaks_only_while_it_is_in_force(settings: Resolve) -> None:
    assert "FSDP_VERSION" not in variables(settings("--fsdp_version", "2"))
    told = variables(settings("--use_fsdp", "--fsdp_version", "2"))
    assert told["FSDP_VERSION"] == "2"
    assert told["ACCELERATE_USE_FSDP"] == "true"


def test_forms(settings: Resolve) -> None:
    told = variables(
        settings(
            "--use_fsdp", "--mixed_precision", "fp8", "--fp8_backend", "te", "--fp8_override_linear_precision", "1,0,0",
            "--dynamo_backend", "inductor", "--enable_cpu_affinity", "--fsdp_reshard_after_forward", "FULL_SHARD",
        )
    )  # fmt: skip
    assert told["ACCELERATE_FP8_BACKEND"] == "TE"
    assert told["ACCELERATE_FP8_OVERRIDE_FPROP"] == "True"
    assert told["ACCELERATE_FP8_OVERRIDE_WGRAD"] == "False"
    assert told["ACCELERATE_DYNAMO_BACKEND"] == "INDUCTOR"
    assert told["ACCELERATE_CPU_AFFINITY"] == "1"
    assert told["FSDP_RESHARD_AFTER_FORWARD"] == "full_shard"
    assert told["FSDP_OFFLOAD_PARAMS"] == "false"


def test_what_nobody_decided_is_not_said(settings: Resolve) -> None:
    told = variables(settings("--use_deepspeed"))
    assert "ACCELERATE_DYNAMO_USE_DYNAMIC" not in told  # its presence would turn automatic into static
    assert "ACCELERATE_DEEPSPEED_ZERO_STAGE" not in told
    assert "ACCELERATE_DEBUG_MODE" not in told
    assert variables(settings("--dynamo_use_dynamic=false"))["ACCELERATE_DYNAMO_USE_DYNAMIC"] == "False"
