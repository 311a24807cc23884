"""How many ranks, on which devices."""

from pathlib import Path

import pytest

from accel_config import AccelError
from accel_launch.machine.devices import Device
from accel_launch.planning import checks
from accel_launch.planning.findings import Findings
from accel_launch.planning.layout import Layout, lay_out
from tests.conftest import Resolve
from tests.launch.hosts import gpus, host


def layout(
    settings: Resolve, *flags: str, devices: int | tuple[Device, ...] = 0, file: str | None = None
) -> tuple[Layout, list[str]]:
    findings = Findings(lenient=False)
    return lay_out(settings(*flags, file=file), host(devices), findings), findings.notes


@pytest.mark.parametrize(
    ("flags", "file", "devices", "total", "kind", "cpu"),
    [
        ([], None, 0, 1, "NO", False),
        ([], None, 1, 1, "NO", False),
        ([], None, 8, 8, "MULTI_GPU", False),
        (["--num_processes", "2"], None, 8, 2, "MULTI_GPU", False),
        (["--gpu_ids", "1,3"], None, 8, 2, "MULTI_GPU", False),
        (["--gpu_ids", "0-2"], None, 8, 3, "MULTI_GPU", False),
        (["--cpu"], None, 8, 1, "NO", True),
        (["--cpu", "--num_processes", "3"], None, 8, 3, "MULTI_CPU", True),
        (["--num_processes", "2"], None, 0, 2, "MULTI_CPU", True),
        (["--num_processes", "2", "--use_fsdp"], None, 0, 2, "FSDP", True),
        (["--use_deepspeed"], None, 4, 4, "DEEPSPEED", False),
        (["--multi_gpu"], None, 4, 4, "MULTI_GPU", False),
        ([], "num_processes: 2", 8, 2, "MULTI_GPU", False),
        ([], "distributed_type: NO\nnum_processes: 4", 8, 1, "NO", False),
        (["--num_processes", "2"], "distributed_type: NO", 8, 2, "MULTI_GPU", False),
        ([], "use_cpu: true\nnum_processes: 2", 0, 2, "MULTI_CPU", True),
        ([], "distributed_type: MULTI_CPU\nnum_processes: 2", 0, 2, "MULTI_CPU", True),
    ],
)
def test_counts_and_kind(
    settings: Resolve, flags: list[str], file: str | None, devices: int, total: int, kind: str, cpu: bool
) -> None:
    found, _notes = layout(settings, *flags, file=file, devices=devices)
    assert (found.total, found.kind, found.cpu) == (total, kind, cpu)


@pytest.mark.parametrize("word", ["true", "True", "1", "yes"])
def test_multi_gpu_means_cpus_if_the_scripts_variable_says_so_and_there_is_no_device(
    settings: Resolve, word: str
) -> None:
    """Test suites of projects run the same command with and without GPUs."""
    chosen, findings = settings("--multi_gpu", "--num_processes", "2"), Findings(lenient=False)
    found = lay_out(chosen, host(0, {"ACCELERATE_USE_CPU": word}), findings)
    assert (found.kind, found.cpu, found.total) == ("MULTI_CPU", True, 2)
    (note,) = findings.notes
    assert note.startswith(f"MULTI_GPU (--multi_gpu): no device is found, and ACCELERATE_USE_CPU={word} in the env")
    for environ, devices in (({"ACCELERATE_USE_CPU": "false"}, 0), ({}, 0)):
        with pytest.raises(AccelError, match="no device is found"):
            lay_out(chosen, host(devices, environ), Findings(lenient=False))
    assert lay_out(chosen, host(2, {"ACCELERATE_USE_CPU": word}), findings).kind == "MULTI_GPU"


def test_another_type_than_that_of_the_devices_is_noted(settings: Resolve, tmp_path: Path) -> None:
    notes = layout(settings, file="distributed_type: MULTI_XPU\nnum_processes: 2", devices=2)[1]
    assert notes == [f"MULTI_XPU ({tmp_path}/config.yaml:1): what is found on this machine is GPU 0"]
    assert not layout(settings, "--num_processes", "2", file="distributed_type: MULTI_XPU", devices=gpus(2, "XPU"))[1]


def test_multi_gpu_means_whatever_devices_there_are(settings: Resolve) -> None:
    found, _notes = layout(settings, "--multi_gpu", devices=gpus(2, "NPU"))
    assert found.kind == "MULTI_NPU"


def test_ranks_are_given_devices_in_the_order_asked_for(settings: Resolve) -> None:
    found, _notes = layout(settings, "--gpu_ids", "3,1", devices=4)
    assert [found.device(rank) for rank in (0, 1)] == ["GPU 3", "GPU 1"]
    assert found.narrowed == ("3", "1")


def test_more_ranks_than_devices_is_refused(settings: Resolve) -> None:
    with pytest.raises(AccelError, match=r"num_processes 3 \(--num_processes\): there are only 2 devices"):
        layout(settings, "--num_processes", "3", devices=2)


def test_a_missing_device_is_refused_by_name(settings: Resolve) -> None:
    with pytest.raises(AccelError, match=r"gpu_ids 0,9 \(--gpu_ids\): no visible device has the id 9; visible: 0, 1"):
        layout(settings, "--gpu_ids", "0,9", devices=2)


def test_in_a_dry_run_the_machine_is_only_noted(settings: Resolve) -> None:
    findings = Findings(lenient=True)
    lay_out(settings("--multi_gpu", "--num_processes", "2"), host(), findings)
    assert "no device is found" in findings.notes[0]


def test_guesses_are_noted(settings: Resolve) -> None:
    assert layout(settings, devices=8)[1] == ["num_processes isn't set: one for each of the 8 devices"]
    assert "the ranks train on the CPU with gloo" in layout(settings, "--num_processes", "2")[1][0]
    assert "one process, not 4" in layout(settings, file="distributed_type: NO\nnum_processes: 4")[1][0]


def test_a_count_that_beats_the_files_no_is_shared_as_any_other(settings: Resolve) -> None:
    file = "distributed_type: 'NO'\nnum_machines: 1\nuse_cpu: true"
    for words in (("--num_processes", "3"), ("--num_processes", "1")):
        chosen = settings("--num_machines", "2", *words, file=file)
        with pytest.raises(AccelError, match="the machines can't share them evenly"):
            checks.combinations(chosen, Findings(lenient=False))
    found, _notes = layout(settings, "--num_machines", "2", "--num_processes", "4", file=file)
    assert (found.total, found.local, found.kind) == (4, 2, "MULTI_CPU")
    assert layout(settings, file="distributed_type: NO\nnum_processes: 1\nnum_machines: 2")[0].local == 1


@pytest.mark.parametrize(
    ("flags", "file", "named"),
    [
        (["--multi_gpu"], None, "MULTI_GPU (--multi_gpu)"),
        ([], "distributed_type: MULTI_GPU", "MULTI_GPU (config.yaml:1)"),
        ([], "distributed_type: MULTI_XPU\nnum_processes: 1", "MULTI_XPU (config.yaml:1)"),
        ([], "distributed_type: MULTI_GPU\nnum_processes: 2\ngpu_ids: '0,1'", "MULTI_GPU (config.yaml:1)"),
        (["--gpu_ids", "0"], None, "gpu_ids 0 (--gpu_ids)"),
        (["--gpu_ids", "idle"], None, "gpu_ids idle (--gpu_ids)"),
        (["--use_fsdp", "--fsdp_version", "2"], "gpu_ids: '0,1'", "gpu_ids 0,1 (config.yaml:1)"),
    ],
)
def test_devices_that_are_asked_for_and_not_found_are_a_refusal(
    settings: Resolve, tmp_path: Path, flags: list[str], file: str | None, named: str
) -> None:
    named = named.replace("config.yaml", f"{tmp_path}/config.yaml")
    ways_out = "give --cpu to train on the CPU, or --num_devices if there are some"
    chosen = settings(*flags, file=file)
    with pytest.raises(AccelError) as caught:
        lay_out(chosen, host(), Findings(lenient=False))
    assert str(caught.value) == f"{named}: no device is found on this machine; {ways_out}"
    findings = Findings(lenient=False)
    assert not lay_out(chosen, host(0, {"ACCELERATE_USE_CPU": "true"}), findings).devices
    assert findings.notes[0].startswith(
        f"{named}: no device is found, and ACCELERATE_USE_CPU=true in the environment"
    )
    assert lay_out(settings(*flags, "--num_devices", "2", file=file), host(2), Findings(lenient=True)).devices


def test_a_training_mode_that_computes_on_the_cpu_without_devices_is_told(settings: Resolve) -> None:
    for flags, said in (
        (
            ["--use_deepspeed"],
            "DEEPSPEED (--use_deepspeed): no device is found, so its one process trains on the CPU",
        ),
        (
            ["--use_fsdp", "--num_processes", "2"],
            "FSDP (--use_fsdp): no device is found, so the ranks train on the CPU with gloo",
        ),
    ):
        assert layout(settings, *flags)[1] == [said]
        assert not layout(settings, *flags, "--cpu")[1]
    for flags, file in (([], None), ([], "distributed_type: 'NO'\ngpu_ids: all\nuse_cpu: false")):
        assert not layout(settings, *flags, file=file)[1]


def test_of_slices_each_rank_sees_its_own(settings: Resolve) -> None:
    slices = tuple(Device("GPU", f"MIG-{name}", uuid=f"MIG-{name}") for name in "ab")
    found, _notes = layout(settings, devices=slices)
    assert (found.narrowed, [found.own(rank) for rank in range(3)]) == (
        ("MIG-a", "MIG-b"),
        [{"CUDA_VISIBLE_DEVICES": "MIG-a"}, {"CUDA_VISIBLE_DEVICES": "MIG-b"}, {}],
    )
    assert layout(settings, "--gpu_ids", "MIG-b", devices=slices)[0].own(0) == {"CUDA_VISIBLE_DEVICES": "MIG-b"}
    assert layout(settings, devices=2)[0].own(0) == {}
