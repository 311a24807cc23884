"""Combinations that can't work, named with both origins."""

import pytest

from accel_config import AccelError
from accel_launch.planning.checks import combinations
from accel_launch.planning.findings import Findings
from tests.conftest import Resolve


@pytest.mark.parametrize(
    ("flags", "file", "parts"),
    [
        (
            ["--num_machines", "2", "--num_processes", "5"],
            None,
            ["num_processes 5 (--num_processes)", "num_machines 2 (--num_machines)", "make it 4 or 6"],
        ),
        (["-m", "--no_python"], None, ["module true (-m)", "no_python true (--no_python)"]),
        (["--multi_gpu", "--num_processes", "1"], None, ["multi_gpu true", "num_processes 1 (--num_processes)"]),
        (["--multi_gpu", "--gpu_ids", "0"], None, ["gpu_ids 0 (--gpu_ids)", "MULTI_GPU (--multi_gpu)"]),
        (
            ["--use_fsdp", "--fsdp_sync_module_states", "false"],
            None,
            ["fsdp_cpu_ram_efficient_loading true (built in)", "fsdp_sync_module_states false (--fsdp_sync_module_states)"],
        ),
        ([], "distributed_type: FSDP\nfsdp_config: {fsdp_sync_module_states: false}", ["config.yaml:2"]),
        (["--use_parallelism_config"], None, ["use_parallelism_config true", "needs FSDP version 2"]),
        (["--use_fsdp", "--parallelism_config_tp_size", "2"], None, ["parallelism_config_tp_size 2", "needs FSDP version 2"]),
        (
            ["--use_fsdp", "--fsdp_version", "2", "--parallelism_config_cp_size", "2", "--parallelism_config_sp_size", "2"],
            None,
            ["cp_size 2", "sp_size 2"],
        ),
        (
            ["--use_fsdp", "--fsdp_activation_checkpointing_offload", "true"],
            None,
            ["fsdp_activation_checkpointing_offload true", "fsdp_version 1 (built in)"],
        ),
        (
            ["--use_fsdp", "--fsdp_version=2", "--fsdp_activation_checkpointing_offload=true"],
            None,
            ["fsdp_activation_checkpointing false (built in)"],
        ),
        (["--use_fsdp", "--fsdp_version=2", "--fsdp_state_dict_type=LOCAL_STATE_DICT"], None, ["LOCAL_STATE_DICT"]),
    ],
)  # fmt: skip
def test_refused(settings: Resolve, flags: list[str], file: str | None, parts: list[str]) -> None:
    with pytest.raises(AccelError) as refusal:
        combinations(settings(*flags, file=file), Findings(lenient=False))
    assert refusal.value.status == 2
    for part in parts:
        assert part in str(refusal.value)


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--use_fsdp"],
        ["--use_fsdp", "--fsdp_version", "2", "--fsdp_sync_module_states", "false"],
        ["--use_deepspeed", "--parallelism_config_sp_size", "2"],
        ["--use_fsdp", "--fsdp_version", "2", "--num_processes", "8", "--parallelism_config_tp_size", "4"],
        [
            "--use_fsdp", "--fsdp_version", "2", "--num_processes", "8",
            "--parallelism_config_tp_size", "4", "--parallelism_config_dp_shard_size", "2",
        ],
    ],
)  # fmt: skip
def test_allowed(settings: Resolve, flags: list[str]) -> None:
    findings = Findings(lenient=False)
    combinations(settings(*flags), findings)
    assert not findings.notes


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--zero3_init_flag", "true"], ["zero3_init_flag"]),
        (["--offload_param_device", "cpu", "--zero_stage", "2"], ["offload_param_device"]),
    ],
)
def test_zero_3_settings_below_stage_3_are_noted(settings: Resolve, flags: list[str], names: list[str]) -> None:
    findings = Findings(lenient=False)
    combinations(settings("--use_deepspeed", *flags), findings)
    (note,) = findings.notes
    assert all(name in note for name in names)
    assert "no effect below ZeRO stage 3 (zero_stage is 2)" in note
