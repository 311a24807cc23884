"""How many ranks, on which devices."""

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


def test_a_named_device_type_without_devices_is_refused(settings: Resolve) -> None:
    with pytest.raises(AccelError, match=r"MULTI_GPU \(--multi_gpu\): no device is found"):
        layout(settings, "--multi_gpu", "--num_processes", "2")


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
    ("flags", "file"),
    [(("--multi_gpu",), None), ((), "distributed_type: MULTI_GPU"), ((), "distributed_type: MULTI_XPU")],
)
def test_one_process_instead_of_many_devices_is_noted(
    settings: Resolve, flags: tuple[str, ...], file: str | None
) -> None:
    (note,) = layout(settings, *flags, file=file)[1]
    assert "no device is found on this machine, so its one process trains on the CPU" in note
    assert note.startswith("MULTI_")
    assert not layout(settings, *flags, file=file, devices=1)[1]
    findings = Findings(lenient=False)
    lay_out(settings(*flags, file=file), host(0, {"ACCELERATE_USE_CPU": "true"}), findings)
    assert not findings.notes
