"""Devices that several launches share: which are idle, and that no two take the same."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from accel_config.errors import AccelError
from accel_launch.machine.devices import Device
from accel_launch.sharing import choosing, idle, taking
from tests.launch import smi
from tests.launch.hosts import gpus, host
from tests.launch.processes import until
from tests.launch.test_plan import planned

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator

    from tests.conftest import Resolve, Run

SAID = "gpu_ids idle (--gpu_ids)"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "train.py").touch()
    return tmp_path


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """The folder of a stand-in driver with eight idle devices; this test's names of devices are its own."""
    monkeypatch.setenv("PATH", smi.install(tmp_path))
    devices = "".join(f"{place} GPU-{place}abc {300 if place else 12}\n" for place in range(8))
    (tmp_path / "devices").write_text(devices)
    monkeypatch.setattr(taking, "NAME", f"{taking.NAME}-{os.getpid()}")
    monkeypatch.setattr(taking, "TAKEN", {})
    monkeypatch.setattr(choosing, "PACE", 0.05)
    yield tmp_path
    for held in taking.TAKEN.values():
        held.close()


def used(devices: tuple[Device, ...], root: Path) -> tuple[dict[str, str], str] | None:
    found = idle.in_use(devices, str(root))
    return None if found is None else (found.use, found.note)


def test_a_device_is_idle_without_processes_and_with_little_memory(driver: Path) -> None:
    (driver / "devices").write_text("0 GPU-0abc 9\n1 GPU-1abc 40000\n2 GPU-2abc [N/A]\n3 GPU-3abc 700\n")
    (driver / "held").write_text("77 600 GPU-3abc\n78 [N/A] GPU-3abc\n")
    use = {"1": "39.1 GiB are held", "3": "pid 77, 78", "4": "its driver doesn't tell its use"}
    assert used(gpus(5), driver) == (use, "")
    without = tuple(device.replace(uuid="") for device in gpus(5))  # as where the driver's folder isn't mounted
    assert used(without, driver) == (use, "")
    with pytest.raises(AccelError) as caught:
        choosing.choose(gpus(4), 3, 0, SAID, [])
    assert str(caught.value) == (
        f"{SAID}: 2 of 4 devices are idle, 3 are needed (GPU 1: 39.1 GiB are held; GPU 3: pid 77, 78); "
        "--wait_for_devices 30m waits for them"
    )
    assert not taking.TAKEN
    notes: list[str] = []
    for wanted in (0, 3):  # a dry run shows those that are idle, whatever is asked for
        assert [device.id for device in choosing.look(gpus(4), wanted, SAID, notes)] == ["0", "2"]
    assert notes == [f"{SAID}: 2 of 4 devices are idle, 3 are needed (GPU 1: 39.1 GiB are held; GPU 3: pid 77, 78)"]
    (driver / "devices").write_text("0 GPU-0abc 1025\n")
    assert used(gpus(1), driver) == ({"0": "1025 MiB are held"}, "")


def test_a_driver_that_lists_no_processes_is_not_one_that_has_none(
    driver: Path, settings: Resolve, here: Path
) -> None:
    (driver / "devices").write_text("0 GPU-0abc 40000\n1 GPU-1abc 12\n2 GPU-2abc [N/A]\n")
    (driver / "held").write_text("77 600 GPU-1abc\n")
    (driver / "broken").write_text("--query-compute-apps\n")
    use = {"0": "39.1 GiB are held", "2": "its driver doesn't tell its use"}
    assert used(gpus(3), driver) == (use, idle.MEMORY_ALONE)
    todo = planned(settings, here, "--gpu_ids", "idle:1", on=host(3))
    assert todo.commands[0].env["CUDA_VISIBLE_DEVICES"] == "1"
    assert f"{SAID.replace('idle', 'idle:1', 1)}: {idle.MEMORY_ALONE}" in todo.notes


def test_the_slices_of_a_device_are_idle_or_not_each_by_itself(driver: Path, settings: Resolve, here: Path) -> None:
    (driver / "devices").write_text("0 GPU-0abc 60000\n1 GPU-1abc 12\n")
    (driver / "slices").write_text(
        "GPU-0abc 0 MIG-a 3g.40gb 1 0 298\nGPU-0abc 1 MIG-b 1g.10gb 9 0 12\n"
        "GPU-0abc 2 MIG-c 1g.10gb 10 0 9000\nGPU-0abc 3 MIG-d 1g.10gb 11 0 [N/A]\n"
    )
    (driver / "inside").write_text("4123 MIG-a\n")
    slices = tuple(Device("GPU", f"MIG-{name}", uuid=f"MIG-{name}") for name in "abcde")
    unknown = "its driver doesn't tell its use"
    use = {"MIG-a": "pid 4123", "MIG-c": "8.8 GiB are held", "MIG-d": unknown, "MIG-e": unknown}
    assert used((*slices, *gpus(2)[1:]), driver) == (use, "")
    todo = planned(settings, here, "--gpu_ids", "idle:1", on=host(slices))
    assert todo.commands[0].env["CUDA_VISIBLE_DEVICES"] == "MIG-b"
    (driver / "broken").write_text("-q\n")
    assert used(slices[1:2], driver) == ({"MIG-b": unknown}, "")


def test_amds_driver_tells_processes_and_memory(tmp_path: Path) -> None:
    for name, text in {
        "kfd/kfd/topology/nodes/0/properties": "simd_count 0\n", "kfd/kfd/topology/nodes/0/gpu_id": "0",
        **{f"kfd/kfd/topology/nodes/{n}/properties": f"simd_count 4\ndrm_render_minor {120 + n}\n" for n in (2, 3, 10)},
        **{f"kfd/kfd/topology/nodes/{n}/gpu_id": f"{500 + n}" for n in (2, 3, 10)},
        "kfd/kfd/proc/12/vram_502": "1048576", "kfd/kfd/proc/12/vram_503": "0",
        "drm/renderD130/device/mem_info_vram_used": f"{5 << 30}",
    }.items():  # fmt: skip
        path = tmp_path / "sys" / "class" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    use = {"0": "pid 12", "2": "5.0 GiB are held"}
    assert used(gpus(3), tmp_path) == (use, "")
    (tmp_path / "sys/class/kfd/kfd/proc").rename(tmp_path / "gone")  # a kernel without that folder
    unknown = "its driver doesn't tell its use"
    assert used(gpus(3), tmp_path) == ({"0": unknown, "1": unknown, "2": use["2"]}, idle.MEMORY_ALONE)


def test_a_device_is_the_same_by_number_and_by_uuid(driver: Path) -> None:
    without = tuple(device.replace(uuid="") for device in gpus(2))
    with forks(1, lambda _number: [device.id for device in choosing.choose(without, 1, 0, SAID, [])]) as [(pid, got)]:
        assert got == "0"
        with pytest.raises(AccelError, match=f"GPU GPU-0abc: taken by the launch with pid {pid}"):
            choosing.choose([Device("GPU", "GPU-0abc", "GPU-0abc")], 1, 0, SAID, [])


def test_no_driver_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(AccelError, match="no driver of this machine tells which devices are idle; name them"):
        choosing.choose(gpus(2), 1, 0, SAID, [])


def test_a_driver_that_fails_is_quoted_and_may_be_waited_for(
    driver: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = "failed with status 255: Unable to determine the device handle for GPU 0000:01:00.0: Unknown Error"
    (driver / "broken").write_text("--query-gpu\n")

    def look(wanted: int) -> object:
        return choosing.look(gpus(8), wanted, SAID, [])

    for choose in (ids, look):
        with pytest.raises(AccelError) as caught:
            choose(1)
        assert f"{SAID}: {driver}/bin/nvidia-smi {failed}" in str(caught.value)

    def mended(_seconds: float) -> None:
        (driver / "broken").unlink()

    monkeypatch.setattr(choosing, "sleep", mended)
    assert ids(8, 60) == list("01234567")
    assert f"{failed}; waiting for them" in capfd.readouterr().err


def test_what_cannot_come_is_not_waited_for(driver: Path, settings: Resolve, here: Path) -> None:
    for flags in ("idle:9", "idle --num_processes 9"):
        with pytest.raises(AccelError, match="9 idle devices are needed, and only 8 devices are visible"):
            planned(settings, here, *f"--gpu_ids {flags} --wait_for_devices 1h".split(), on=host(8))


@contextmanager
def forks(count: int, choose: Callable[[int], list[str]]) -> Generator[list[tuple[int, str]]]:
    """Choose in many processes at once; they hold what they got until the block ends. Yield pids and answers."""
    start, go = os.pipe()
    found: list[tuple[int, int]] = []
    for number in range(count):
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(go)
            os.read(start, 1)
            try:
                text = ",".join(choose(number))
            except AccelError as error:
                text = f"refused: {error}"
            os.write(writer, text.encode())
            os.close(writer)
            signal.pause()
        os.close(writer)
        found.append((pid, reader))
    os.close(start)
    os.close(go)
    try:
        yield [(pid, b"".join(iter(lambda: os.read(reader, 65536), b"")).decode()) for pid, reader in found]  # noqa: B023
    finally:
        for pid, reader in found:
            os.close(reader)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def ids(wanted: int, seconds: float = 0.0) -> list[str]:
    return [device.id for device in choosing.choose(gpus(8), wanted, seconds, SAID, [])]


def test_of_many_launches_each_gets_devices_of_its_own(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = f"[ $1 != '{idle.DEVICES[0]}' ] || sed 's/ /, /g' {driver}/devices"
    (driver / "bin" / "nvidia-smi").write_text(f"#!/bin/sh\n{lines}")  # quickly
    with forks(32, lambda _number: ids(1)) as answers:
        got = [text for _pid, text in answers if not text.startswith("refused")]
        assert sorted(got) == list("01234567")
        holders = {text: pid for pid, text in answers}
        refused = next(text for _pid, text in answers if text.startswith("refused"))
        assert f"0 of 8 devices are idle (GPU 0: taken by the launch with pid {holders['0']}; GPU 1: " in refused
    bound = taking._bound

    def half(number: int) -> list[str]:
        """Choose more than half of the devices; leave a trace of each that is tried, for which there is time."""

        def slow(name: str) -> socket.socket | None:
            if name != taking.NAME:
                with (driver / "tried").open("a") as trace:
                    trace.write(str(number))
                time.sleep(0.02)
            return bound(name)

        monkeypatch.setattr(taking, "_bound", slow)
        return ids(5)

    with forks(3, half) as answers:  # one of them gets all of its own
        assert sorted(text.startswith("refused") for _pid, text in answers) == [False, True, True], answers
    tried = (driver / "tried").read_text()
    assert tried == "".join(sorted(tried, key=tried.index)), "two chose at once"
    assert ids(0) == list("01234567")
    assert ids(8) == list("01234567")  # this process has them


def test_who_waits_gets_what_a_killed_launch_had(
    driver: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with forks(1, lambda _number: ids(7)) as [(holder, _text)]:
        reader, writer = os.pipe()
        waiting = os.fork()
        if not waiting:
            os.write(writer, ",".join(ids(2, 60)).encode())
            os._exit(0)
        said = []
        assert until(lambda: "waiting for them" in (said.append(capfd.readouterr().err) or "".join(said)))
        assert "accel: gpu_ids idle (--gpu_ids): 1 of 8 devices is idle, 2 are needed (GPU 0: taken by" in "".join(
            said
        )
        os.kill(holder, signal.SIGKILL)
        assert os.read(reader, 99) == b"0,1"
        os.waitpid(waiting, 0)
        os.close(reader)
        os.close(writer)
    with forks(1, lambda _number: ids(8)) as [_holder], pytest.raises(AccelError, match=r"0\.2 s have passed"):
        ids(1, 0.2)


@pytest.mark.parametrize(
    ("flags", "chosen"),
    [
        ("idle:2", "0,3"),
        ("idle:2 --num_processes 1", "0,3"),
        ("idle --num_processes 1", "0"),
        (
            "idle --num_processes 2 --num_machines 2 --machine_rank 1 --main_process_ip 10.0.0.1 --main_process_port 29500",
            "0",
        ),
        ("IDLE", "0,3,5"),
        ("idle --nproc_per_node 3", "0,3,5"),
    ],
)
def test_idle_devices_are_chosen_for_the_ranks(
    driver: Path, settings: Resolve, here: Path, flags: str, chosen: str
) -> None:
    (driver / "held").write_text("".join(f"{n + 1000} 600 GPU-{n}abc\n" for n in (1, 2, 4, 6, 7)))
    todo = planned(settings, here, *f"--gpu_ids {flags}".split(), on=host(8))
    assert todo.commands[0].env["CUDA_VISIBLE_DEVICES"] == chosen
    assert todo.supervised  # a launcher that became the script would let go of them
    assert "CUDA_DEVICE_ORDER" not in todo.commands[0].env
    unlike = tuple(device.replace(model=f"card {device.id}") for device in gpus(8))
    todo = planned(settings, here, *f"--gpu_ids {flags}".split(), on=host(8).replace(devices=unlike))
    assert todo.commands[0].env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    todo = planned(settings, here, "--gpu_ids", "0,3", on=host(8).replace(devices=unlike))
    assert "CUDA_DEVICE_ORDER" not in todo.commands[0].env  # these are CUDA's own numbers


def test_what_idle_cannot_mean(accelerate: Run, settings: Resolve, here: Path) -> None:
    notes = planned(settings, here, "--cpu", "--gpu_ids", "idle:2", on=host(8)).notes
    assert notes == ("gpu_ids idle:2 (--gpu_ids): no effect on the CPU",)
    for flags, said in (
        ("idle", "gpu_ids idle (--gpu_ids): no device is found on this machine; give --cpu"),
        ("idle:x", "gpu_ids idle:x (--gpu_ids): write idle, or idle:2 for two idle devices"),
        ("idle:0", "gpu_ids idle:0 (--gpu_ids): write idle, or idle:2 for two idle devices"),
        ("idle:1 --multi_gpu", "gpu_ids idle:1 (--gpu_ids) is one device"),
        (
            "idle --slurm",
            "gpu_ids idle (--gpu_ids) and slurm true (--slurm): in a job the scheduler chooses the devices",
        ),
    ):
        done = accelerate("launch", "--gpu_ids", *flags.split(), here / "train.py")
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    done = accelerate("launch", "--cpu", "--wait_for_devices", "5m", here / "train.py")
    assert "wait_for_devices 5m (--wait_for_devices): no effect, since gpu_ids isn't idle" in done.stderr
