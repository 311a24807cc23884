"""How many ranks, on which devices."""

import pytest

from accel_config import AccelError
from accel_launch.checks import Findings
from accel_launch.devices import Device
from accel_launch.layout import Layout, lay_out
from tests.conftest import Resolve
from tests.launch.hosts import gpus, host


def laid(
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
    found, _notes = laid(settings, *flags, file=file, devices=devices)
    assert (found.total, found.kind, found.cpu) == (total, kind, cpu)


def test_multi_gpu_means_whatever_devices_there_are(settings: Resolve) -> None:
    found, _notes = laid(settings, "--multi_gpu", devices=gpus(2, "NPU"))
    assert found.kind == "MULTI_NPU"


def test_ranks_are_given_devices_in_the_order_asked_for(settings: Resolve) -> None:
    found, _notes = laid(settings, "--gpu_ids", "3,1", devices=4)
    assert [found.device(rank) for rank in (0, 1)] == ["GPU 3", "GPU 1"]
    assert found.narrowed == ("3", "1")


def test_more_ranks_than_devices_is_refused(settings: Resolve) -> None:
    with pytest.raises(AccelError, match=r"num_processes 3 \(--num_processes\): there are only 2 devices"):
        laid(settings, "--num_processes", "3", devices=2)


def test_a_missing_device_is_refused_by_name(settings: Resolve) -> None:
    with pytest.raises(AccelError, match=r"gpu_ids 0,9 \(--gpu_ids\): no visible device has the id 9; visible: 0, 1"):
        laid(settings, "--gpu_ids", "0,9", devices=2)


def test_a_named_device_type_without_devices_is_refused(settings: Resolve) -> None:
    with pytest.raises(AccelError, match=r"MULTI_GPU \(--multi_gpu\): no device is found"):
        laid(settings, "--multi_gpu", "--num_processes", "2")


def test_in_a_dry_run_the_machine_is_only_noted(settings: Resolve) -> None:
    findings = Findings(lenient=True)
    lay_out(settings("--multi_gpu", "--num_processes", "2"), host(), findings)
    assert "no device is found" in findings.notes[0]


def test_guesses_are_noted(settings: Resolve) -> None:
    assert laid(settings, devices=8)[1] == ["num_processes isn't set: one for each of the 8 devices"]
    assert "the ranks train on the CPU with gloo" in laid(settings, "--num_processes", "2")[1][0]
    assert "one process, not 4" in laid(settings, file="distributed_type: NO\nnum_processes: 4")[1][0]
