"""Accelerators, found in files that a test makes as the drivers do."""

from pathlib import Path

import pytest

from accel_launch.machine.devices import Device, absence, expand, find, select, stated, visible
from tests.launch import smi
from tests.launch.hosts import gpus


def nvidia(root: Path, count: int) -> None:
    (root / "dev").mkdir()
    (root / "dev/nvidiactl").touch()
    for minor in range(count):
        (root / f"dev/nvidia{minor}").touch()
        folder = root / f"proc/driver/nvidia/gpus/0000:0{minor}:00.0"
        folder.mkdir(parents=True)
        folder.joinpath("information").write_text(
            f"Model: \t\t NVIDIA GeForce RTX 4090\nGPU UUID: \t GPU-{minor}111-2222\nDevice Minor: \t {minor}\n"
        )


def test_nothing(tmp_path: Path) -> None:
    assert find({}, str(tmp_path)) == ()


def test_nvidia(tmp_path: Path) -> None:
    nvidia(tmp_path, 2)
    found = find({}, str(tmp_path))
    assert [device.id for device in found] == ["0", "1"]
    assert found[1] == Device("GPU", "1", uuid="GPU-1111-2222", model="NVIDIA GeForce RTX 4090", pci="0000:01:00.0")


@pytest.mark.parametrize(
    ("listed", "ids"),
    [
        (None, ["0", "1", "2", "3"]),
        ("", []),
        ("2,0", ["2", "0"]),
        ("1,-1,2", ["1"]),
        ("0,7,1", ["0"]),
        ("GPU-2111", ["2"]),
        ("GPU-9", []),
        ("MIG-abc", ["MIG-abc"]),
    ],
)
def test_the_visibility_variable_is_read_as_cuda_reads_it(tmp_path: Path, listed: str | None, ids: list[str]) -> None:
    nvidia(tmp_path, 4)
    environ = {} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}
    assert [device.id for device in find(environ, str(tmp_path))] == ids


@pytest.mark.parametrize(
    ("files", "kind", "variable"),
    [
        (["dev/davinci0", "dev/davinci1", "dev/davinci_manager"], "NPU", "ASCEND_RT_VISIBLE_DEVICES"),
        (["dev/cambricon_dev0", "dev/cambricon_dev1"], "MLU", "MLU_VISIBLE_DEVICES"),
        (["dev/accel/accel0", "dev/accel/accel1"], "HPU", "HABANA_VISIBLE_MODULES"),
        (["dev/neuron0", "dev/neuron1"], "NEURON", "NEURON_RT_VISIBLE_CORES"),
    ],
)
def test_other_vendors(tmp_path: Path, files: list[str], kind: str, variable: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find({}, str(tmp_path)) == (Device(kind, "0"), Device(kind, "1"))
    assert find({variable: "1"}, str(tmp_path)) == (Device(kind, "1"),)


def test_amd_and_intel(tmp_path: Path) -> None:
    nodes = tmp_path / "sys/class/kfd/kfd/topology/nodes"
    for name, count in (("0", 0), ("1", 304), ("2", 304)):
        (nodes / name).mkdir(parents=True)
        (nodes / name / "properties").write_text(
            f"cpu_cores_count 0\nsimd_count {count}\ndomain 1\nlocation_id {49408 + 8 * int(name)}\n"
        )
    (device,) = find({"HIP_VISIBLE_DEVICES": "1"}, str(tmp_path))
    assert (str(device), device.pci) == ("GPU 1", "0001:c1:02.0")
    card = tmp_path / "sys/class/drm/card0"
    card.mkdir(parents=True)
    (tmp_path / "0000:3a:00.0").mkdir()
    (card / "device").symlink_to(tmp_path / "0000:3a:00.0")
    (card / "device/vendor").write_text("0x8086\n")
    assert find({}, str(tmp_path))[0].kind == "GPU"  # without memory of its own it is the processor's graphics
    (card / "lmem_total_bytes").write_text("1")
    assert find({}, str(tmp_path)) == (Device("XPU", "0", pci="0000:3a:00.0"),)


def files(root: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_aws_counts_cores_and_lists_ranges(tmp_path: Path) -> None:
    sysfs = "sys/devices/virtual/neuron_device/neuron"
    cores = {f"{sysfs}{chip}/neuron_core{core}/info": "" for chip in (0, 1) for core in (0, 1)}
    files(tmp_path, **{"dev/neuron0": "", "dev/neuron1": "", f"{sysfs}0/core_count": "2", **cores})
    assert [device.id for device in find({}, str(tmp_path))] == ["0", "1", "2", "3"]
    for listed, ids in (("1-2", ["1", "2"]), ("3", ["3"]), ("0,2-3", ["0", "2", "3"]), ("", [])):
        seen = find({"NEURON_RT_VISIBLE_CORES": listed}, str(tmp_path))
        assert [device.id for device in seen] == ids, listed


@pytest.mark.parametrize("tile", ["gt/gt{}/id", "device/tile{}/physical_vram_size_bytes"])
def test_each_tile_of_intels_is_a_device_unless_they_are_composed(tmp_path: Path, tile: str) -> None:
    for card in (0, 1):
        names = (*(tile.format(number) for number in (0, 1)), "lmem_total_bytes")
        files(tmp_path, **{f"sys/class/drm/card{card}/{name}": "1" for name in names})
        files(tmp_path, **{f"sys/class/drm/card{card}/device/vendor": "0x8086\n"})
    for environ, ids in (
        ({}, "0123"),
        ({"ZE_AFFINITY_MASK": "1,3"}, "13"),
        ({"ZE_FLAT_DEVICE_HIERARCHY": "COMBINED"}, "0123"),
        ({"ZE_FLAT_DEVICE_HIERARCHY": "COMPOSITE"}, "01"),
        ({"ZE_FLAT_DEVICE_HIERARCHY": "composite", "ZE_AFFINITY_MASK": "1.0,1.1"}, "1"),
        ({"ZE_FLAT_DEVICE_HIERARCHY": "COMPOSITE", "ZE_AFFINITY_MASK": "0.1,1"}, "01"),
    ):
        assert "".join(device.id for device in find(environ, str(tmp_path))) == ids, environ


def test_linux_on_windows_and_jetson_have_no_numbered_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(tmp_path, **{"dev/nvhost-gpu": "", "proc/device-tree/model": "NVIDIA Jetson AGX Orin\0"})
    assert find({}, str(tmp_path)) == (Device("GPU", "0", model="NVIDIA Jetson AGX Orin"),)
    files(tmp_path, **{"dev/dxg": "", "usr/lib/wsl/lib/nvidia-smi": ""})
    program = tmp_path / "usr/lib/wsl/lib/nvidia-smi"
    program.write_text(
        '#!/bin/sh\n[ "$*" = -L ] || exit 6\n'
        "echo 'GPU 0: NVIDIA GeForce RTX 3090 (UUID: GPU-0a)'\necho 'GPU 1: NVIDIA T4 (UUID: GPU-1b)'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    found = find({"CUDA_VISIBLE_DEVICES": "1"}, str(tmp_path))
    assert found == (Device("GPU", "1", uuid="GPU-1b", model="NVIDIA T4"),)


@pytest.fixture
def slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a machine of which the first GPU is in two slices, and the second one whole."""
    nvidia(tmp_path, 2)
    monkeypatch.setenv("PATH", smi.install(tmp_path))
    (tmp_path / "devices").write_text("0 GPU-0111-2222 100\n1 GPU-1111-2222 100\n")
    (tmp_path / "slices").write_text("".join(f"GPU-0111-2222 {n} MIG-{n}a 3g.40gb {n + 1} 0 20\n" for n in (0, 1)))
    files(tmp_path, **{f"proc/driver/nvidia/capabilities/gpu0/mig/gi{n}/ci0/access": "" for n in (1, 2)})
    return tmp_path


def test_why_no_device_is_found_is_told(tmp_path: Path) -> None:
    assert absence({"CUDA_VISIBLE_DEVICES": "-1"}, str(tmp_path)) == ""
    files(tmp_path, **{"dev/dxg": ""})
    assert absence({}, str(tmp_path)) == " (/dev/dxg is there, but nvidia-smi lists none)"
    (tmp_path / "dev/dxg").unlink()
    files(tmp_path, **{"proc/driver/nvidia/gpus/0000:01:00.0/information": ""})  # before CUDA was first used
    assert absence({}, str(tmp_path)) == " (/proc/driver/nvidia/gpus is there, but /dev/nvidia0 is missing)"
    files(tmp_path, **{"dev/nvidia0": ""})
    assert absence({"CUDA_VISIBLE_DEVICES": "-1"}, str(tmp_path)) == ", since CUDA_VISIBLE_DEVICES=-1 hides them"


def test_the_slices_of_a_gpu_are_devices_in_its_place(slices: Path) -> None:
    found = find({}, str(slices))
    assert [device.id for device in found] == ["MIG-0a", "MIG-1a", "1"]
    assert found[0].replace(id="", uuid="", whole=()) == Device(
        "GPU", "", model="NVIDIA GeForce RTX 4090 MIG 3g.40gb", pci="0000:00:00.0"
    )
    assert [device.slice for device in found] == [True, True, False]
    for listed, ids in (
        ("MIG-1a,MIG-0a", ["MIG-1a", "MIG-0a"]),
        ("0", ["MIG-0a"]),  # as CUDA has it: the first slice
        ("GPU-0111", ["MIG-0a"]),
        ("1,MIG-1a", ["1", "MIG-1a"]),
        ("MIG-9,MIG-0a", []),
        ("MIG-GPU-0111-2222/1/0", ["MIG-GPU-0111-2222/1/0"]),  # of an older driver
    ):
        seen = find({"CUDA_VISIBLE_DEVICES": listed}, str(slices))
        assert [device.id for device in seen] == ids, listed
    assert select(found, "MIG-1a,MIG-x") == ([found[1]], ["MIG-x"])
    for one in (slices / "proc/driver/nvidia/gpus").iterdir():  # as in some containers
        one.rename(slices / one.name)
    assert [device.id for device in find({}, str(slices))] == ["MIG-0a", "MIG-1a", "1"]
    for one in slices.glob("0000:*"):
        one.rename(slices / "proc/driver/nvidia/gpus" / one.name)
    (slices / "broken").write_text("-L\n")  # then the driver's files know the older form of the names
    old = [device.id for device in find({}, str(slices))]
    assert old == ["MIG-GPU-0111-2222/1/0", "MIG-GPU-0111-2222/2/0", "1"]
    assert [device.id for device in find({"CUDA_VISIBLE_DEVICES": "MIG-1a"}, str(slices))] == ["MIG-1a"]


def test_nobody_is_asked_where_no_gpu_is_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia(tmp_path, 1)
    monkeypatch.setenv("PATH", smi.install(tmp_path))
    files(tmp_path, **{"proc/driver/nvidia/capabilities/mig/config": ""})
    assert [device.id for device in find({}, str(tmp_path))] == ["0"]
    assert not (tmp_path / "asked").exists()


def test_the_user_can_say_how_many_there_are() -> None:
    assert [device.uuid for device in stated(gpus(1), 2, "GPU", {})] == ["GPU-0abc", ""]
    assert [device.id for device in stated((), 4, "GPU", {"CUDA_VISIBLE_DEVICES": "3,1"})] == ["3", "1"]
    assert stated(gpus(4), 0, "GPU", {}) == ()
    # Only the driver knows which one an UUID is, unless the driver's files list them.
    (named,) = stated((), 4, "GPU", {"CUDA_VISIBLE_DEVICES": "GPU-0abc"})
    assert (named.id, named.uuid) == ("GPU-0abc", "GPU-0abc")
    assert select(stated((), 4, "GPU", {}), "GPU-3abc,1") == (
        [Device("GPU", "GPU-3abc", "GPU-3abc"), Device("GPU", "1")],
        [],
    )
    assert stated(gpus(2), 2, "GPU", {"CUDA_VISIBLE_DEVICES": "GPU-9abc"}) == ()


def test_ids_in_every_form() -> None:
    assert expand("0, 2-4,GPU-ab,MIG-x-y") == ["0", "2", "3", "4", "GPU-ab", "MIG-x-y"]
    chosen, strange = select(gpus(4), "3,GPU-1ab,9,3")
    assert [device.id for device in chosen] == ["3", "1"]
    assert strange == ["9"]


def test_a_list_narrows_and_never_widens() -> None:
    seen = visible(gpus(8), "4,5")
    assert select(seen, "0") == ([], ["0"])
    assert [device.id for device in select(seen, "5,4")[0]] == ["5", "4"]


@pytest.mark.parametrize(
    ("model", "bf16"),
    [
        ("NVIDIA A100-SXM4-80GB", True),
        ("NVIDIA H100 80GB HBM3", True),
        ("NVIDIA GH200 480GB", True),
        ("NVIDIA B200", True),
        ("NVIDIA L4", True),
        ("NVIDIA A10G", True),
        ("NVIDIA RTX A6000", True),
        ("NVIDIA RTX 6000 Ada Generation", True),
        ("NVIDIA GeForce RTX 4090", True),
        ("NVIDIA GeForce RTX 3060 Laptop GPU", True),
        ("Tesla T4", False),
        ("Tesla V100-SXM2-16GB", False),
        ("Tesla P100-PCIE-16GB", False),
        ("Quadro RTX 8000", False),
        ("NVIDIA GeForce RTX 2080 Ti", False),
        ("NVIDIA GeForce GTX 1080 Ti", False),
        ("NVIDIA TITAN RTX", False),
        ("AMD", False),
        ("", False),
    ],
)
def test_bf16_is_known_by_the_model(model: str, bf16: bool) -> None:
    assert Device("GPU", "0", model=model).bf16 is bf16


@pytest.mark.parametrize(("kind", "bf16"), [("TPU", True), ("HPU", True), ("XPU", True), ("MLU", False)])
def test_bf16_is_known_by_the_kind(kind: str, bf16: bool) -> None:
    assert Device(kind, "0").bf16 is bf16
