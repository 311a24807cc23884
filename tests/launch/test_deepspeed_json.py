"""A DeepSpeed json beside the settings: what contradicts is refused before start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accel_config import AccelError
from accel_config.checking.sharding import IN_JSON
from accel_launch import Plan, plan
from tests.conftest import Resolve
from tests.launch.hosts import host

ZERO = {"stage": 3, "offload_optimizer": {"device": "cpu"}, "stage3_gather_16bit_weights_on_model_save": True}
HELD = {
    "zero_optimization": ZERO,
    "gradient_clipping": 1,
    "gradient_accumulation_steps": "auto",
    "bf16": {"enabled": True},
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "train.py").touch()
    (tmp_path / "ds.json").write_text(json.dumps(HELD))
    return tmp_path


def planned(settings: Resolve, here: Path, *flags: str, file: str | None = None) -> Plan:
    found = settings("--use_deepspeed", "--deepspeed_config_file", "ds.json", *flags, file=file)
    return plan(found, host(2).replace(cwd=str(here)), ["train.py"])


def refused(settings: Resolve, here: Path, *flags: str, file: str | None = None) -> str:
    with pytest.raises(AccelError) as refusal:
        planned(settings, here, *flags, file=file)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--zero_stage", "2"],
            "but deepspeed_config_file ds.json (--deepspeed_config_file) has zero_optimization.stage 3: make them agree",
        ),
        (["--offload_optimizer_device", "none"], "has zero_optimization.offload_optimizer.device cpu"),
        (
            ["--zero3_save_16bit_model", "false"],
            "has zero_optimization.stage3_gather_16bit_weights_on_model_save true",
        ),
        (["--gradient_clipping", "0.5"], "has gradient_clipping 1"),
        (["--mixed_precision", "fp16"], "has fp16.enabled and bf16.enabled bf16"),
        (["--mixed_precision", "no"], "has fp16.enabled and bf16.enabled bf16"),
    ],
)
def test_a_flag_that_the_json_contradicts(settings: Resolve, here: Path, flags: list[str], message: str) -> None:
    assert message in refused(settings, here, *flags)
    todo = planned(settings, here, *flags, "--dry_run")
    assert any(message in note for note in todo.notes)


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--zero_stage", "3", "--offload_optimizer_device", "cpu", "--zero3_save_16bit_model", "true"],
        ["--gradient_clipping", "1.0", "--mixed_precision", "bf16"],
        ["--gradient_accumulation_steps", "4"],  # the json leaves it to the launcher: auto
    ],
)
def test_what_agrees_is_taken(settings: Resolve, here: Path, flags: list[str]) -> None:
    todo = planned(settings, here, *flags)
    assert not [note for note in todo.notes if "ds.json" in note]


def test_what_the_json_does_not_hold_is_told(settings: Resolve, here: Path) -> None:
    todo = planned(settings, here, "--offload_param_device", "cpu")
    assert (
        "offload_param_device cpu (--offload_param_device), but deepspeed_config_file ds.json (--deepspeed_config_file) "
        "doesn't set zero_optimization.offload_param.device, and the library goes by it"
    ) in todo.notes


def test_fields_of_the_config_file_are_refused_beside_it(settings: Resolve, here: Path) -> None:
    """As the library refuses them, when the script has started: whatever the json says."""
    file = "distributed_type: DEEPSPEED\ndeepspeed_config:\n  zero_stage: 3\nmixed_precision: bf16\n"
    for dry in ((), ("--dry_run",)):
        message = refused(settings, here, *dry, file=file)
        assert "deepspeed_config_file ds.json (--deepspeed_config_file) decides zero_stage 3 (" in message
        assert "config.yaml:3)" in message
        assert "mixed_precision bf16 (" in message
        assert "config.yaml:4)" in message


def test_every_field_that_the_library_refuses_is_known() -> None:
    assert set(IN_JSON) == {
        *("gradient_accumulation_steps", "gradient_clipping", "zero_stage", "offload_optimizer_device"),
        *("offload_param_device", "offload_param_nvme_path", "offload_optimizer_nvme_path"),
        *("zero3_save_16bit_model", "mixed_precision"),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "deepspeed_config_file ds.json (--deepspeed_config_file) can't be read: No such file or directory"),
        ("{", "deepspeed_config_file ds.json (--deepspeed_config_file) isn't valid JSON: "),
        ("[]", "isn't a DeepSpeed configuration: it doesn't hold a mapping"),
    ],
)
def test_a_json_that_is_none(settings: Resolve, here: Path, text: str | None, message: str) -> None:
    (here / "ds.json").unlink()
    if text is not None:
        (here / "ds.json").write_text(text)
    assert message in refused(settings, here)
    assert any(message in note for note in planned(settings, here, "--dry_run").notes)


def test_it_is_read_only_for_deepspeed(settings: Resolve, here: Path) -> None:
    (here / "ds.json").unlink()
    plan(settings("--deepspeed_config_file", "ds.json"), host().replace(cwd=str(here)), ["train.py"])
