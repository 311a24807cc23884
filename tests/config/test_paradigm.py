"""The switches, --cpu and distributed_type, decided in one place."""

import pytest

from accel_config import SettingError
from accel_config.settings.paradigm import paradigm
from tests.conftest import Resolve


@pytest.mark.parametrize(
    ("flags", "file", "kind", "cpu"),
    [
        ([], None, "", False),
        (["--multi_gpu"], None, "MULTI_GPU", False),
        (["--use_fsdp"], None, "FSDP", False),
        (["--use_deepspeed"], None, "DEEPSPEED", False),
        (["--use_megatron_lm"], None, "MEGATRON_LM", False),
        (["--multi_gpu", "--use_megatron_lm"], None, "MEGATRON_LM", False),
        (["--tpu"], None, "XLA", False),
        (["--tpu_cluster"], None, "XLA", False),
        (["--tpu", "--tpu_cluster"], None, "XLA", False),
        (["--cpu"], None, "", True),
        (["--cpu", "--use_fsdp"], None, "FSDP", True),
        ([], "distributed_type: FSDP", "FSDP", False),
        ([], "distributed_type: MULTI_NPU", "MULTI_NPU", False),
        ([], "distributed_type: FSDP\nuse_cpu: true", "FSDP", True),
        (["--use_deepspeed"], "distributed_type: FSDP", "DEEPSPEED", False),
        (["--multi_gpu"], "distributed_type: DEEPSPEED", "MULTI_GPU", False),
        (["--cpu"], "distributed_type: FSDP", "", True),
        (["--cpu"], "distributed_type: MULTI_CPU", "MULTI_CPU", True),
        (["--cpu"], "distributed_type: NO", "NO", True),
    ],
)
def test_who_decides(settings: Resolve, flags: list[str], file: str | None, kind: str, cpu: bool) -> None:
    decided = paradigm(settings(*flags, file=file))
    assert (decided.kind, decided.cpu) == (kind, cpu)


def test_the_origin_is_the_switch_or_the_line(settings: Resolve) -> None:
    assert paradigm(settings("--use_fsdp")).origin.text == "--use_fsdp"
    assert paradigm(settings(file="\ndistributed_type: FSDP")).origin.text.endswith("config.yaml:2")


def test_a_variable_is_a_switch_too(settings: Resolve) -> None:
    made = settings(file="distributed_type: NO", environ={"ACCELERATE_LAUNCH_USE_FSDP": "true"})
    assert (paradigm(made).kind, paradigm(made).origin.text) == ("FSDP", "ACCELERATE_LAUNCH_USE_FSDP")


def test_cpu_over_the_files_paradigm_is_told(settings: Resolve) -> None:
    assert "--cpu is set, so FSDP" in paradigm(settings("--cpu", file="distributed_type: FSDP")).note


@pytest.mark.parametrize(
    "flags",
    [
        ["--use_fsdp", "--use_deepspeed"],
        ["--use_fsdp", "--multi_gpu"],
        ["--multi_gpu", "--tpu"],
        ["--use_deepspeed", "--use_megatron_lm"],
        ["--cpu", "--multi_gpu"],
        ["--cpu", "--tpu"],
        ["--distributed_type", "FSDP", "--use_deepspeed"],
    ],
)
def test_two_at_once_are_refused_by_name(settings: Resolve, flags: list[str]) -> None:
    with pytest.raises(SettingError, match="set one of them") as refusal:
        _ = paradigm(settings(*flags))
    assert all(flag in str(refusal.value) for flag in flags if flag.startswith("--"))
