"""Accelerators of this machine, found without torch: from the files that their drivers make."""

from __future__ import annotations

import os

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Device(Record):
    """One accelerator."""

    kind: str
    """``GPU``, ``NPU``, ...: the machine is of ``distributed_type`` ``MULTI_<kind>``."""
    id: str
    """What the vendor's visibility variable calls it: an index, or a UUID where the user gave one."""
    uuid: str = ""
    model: str = ""

    def __str__(self) -> str:
        """Show kind and id."""
        return f"{self.kind} {self.id}"


class Vendor(Record):
    """How one kind of accelerator is found and narrowed."""

    kind: str
    variables: tuple[str, ...]
    """Visibility variables; the first is the one to narrow."""
    nodes: tuple[str, ...]
    """Prefixes of its device files below the root, each followed by a number."""


# In the order in which the library looks for them; the first that is there decides.
VENDORS = (
    Vendor("XPU", ("ZE_AFFINITY_MASK",), ()),
    Vendor("MLU", ("MLU_VISIBLE_DEVICES",), ("dev/cambricon_dev",)),
    Vendor("SDAA", ("SDAA_VISIBLE_DEVICES",), ("dev/tcaicard",)),
    Vendor("MUSA", ("MUSA_VISIBLE_DEVICES",), ("dev/mtgpu.",)),
    Vendor("NPU", ("ASCEND_RT_VISIBLE_DEVICES",), ("dev/davinci",)),
    Vendor("HPU", ("HABANA_VISIBLE_MODULES",), ("dev/accel/accel",)),
    Vendor("NEURON", ("NEURON_RT_VISIBLE_CORES",), ("dev/neuron",)),
    Vendor("GPU", ("CUDA_VISIBLE_DEVICES",), ("dev/nvidia",)),
    Vendor("GPU", ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"), ("kfd",)),
)
BY_KIND = {vendor.kind: vendor for vendor in reversed(VENDORS)}


def find(environ: Mapping[str, str], root: str = "/") -> tuple[Device, ...]:
    """Return the accelerators of the first kind that is there, as far as its visibility variables let see.

    ``root`` is the folder that holds ``dev``, ``proc`` and ``sys``.
    """
    for vendor in VENDORS:
        devices = _present(vendor, root)
        if devices:
            for variable in vendor.variables:
                devices = visible(devices, environ.get(variable))
            return devices
    return ()


def _present(vendor: Vendor, root: str) -> tuple[Device, ...]:
    if vendor.kind == "XPU":
        return tuple(Device("XPU", str(place)) for place in range(_intel(root)))
    if vendor.nodes == ("kfd",):
        return tuple(Device("GPU", str(place), model="AMD") for place in range(_amd(root)))
    numbers = sorted(number for prefix in vendor.nodes for number in _numbered(root, prefix))
    if vendor.kind == "GPU" and numbers:
        return _nvidia(numbers, root)
    return tuple(Device(vendor.kind, str(place)) for place in range(len(numbers)))


def _numbered(root: str, prefix: str) -> list[int]:
    folder, _, start = prefix.rpartition("/")
    ends = [name.removeprefix(start) for name in _names(os.path.join(root, folder)) if name.startswith(start)]
    return [int(end) for end in ends if end.isdecimal()]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def read(*path: str) -> str:
    """Return the text of a small file of the system, stripped; nothing where it can't be read."""
    try:
        with open(os.path.join(*path), encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _nvidia(numbers: list[int], root: str) -> tuple[Device, ...]:
    """Return NVIDIA's devices; CUDA numbers them by PCI address under the driver's folder, where there is one."""
    folder = os.path.join(root, "proc/driver/nvidia/gpus")
    facts: dict[int, dict[str, str]] = {}
    for name in _names(folder):
        lines = read(folder, name, "information").splitlines()
        fact = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        if fact.get("Device Minor", "").isdecimal():
            facts[int(fact["Device Minor"])] = fact
    there = [n for n in numbers if n in facts] or numbers
    known = [facts.get(number, {}) for number in there]
    return tuple(
        Device("GPU", str(place), uuid=fact.get("GPU UUID", ""), model=fact.get("Model", ""))
        for place, fact in enumerate(known)
    )


def _amd(root: str) -> int:
    nodes = os.path.join(root, "sys/class/kfd/kfd/topology/nodes")
    lines = [line.split() for name in _names(nodes) for line in read(nodes, name, "properties").splitlines()]
    return sum(1 for words in lines if words[:1] == ["simd_count"] and words[1:] != ["0"])


def _intel(root: str) -> int:
    """Count Intel's discrete GPUs: those whose driver tells a local memory of their own."""
    cards = os.path.join(root, "sys/class/drm")
    return sum(
        1
        for name in _names(cards)
        if name.startswith("card")
        and name[4:].isdecimal()
        and read(cards, name, "device/vendor") == "0x8086"
        and (os.path.exists(os.path.join(cards, name, "lmem_total_bytes")) or _is_xe(cards, name))
    )


def _is_xe(cards: str, name: str) -> bool:
    return os.path.exists(os.path.join(cards, name, "device/tile0/physical_vram_size_bytes"))


def visible(devices: tuple[Device, ...], listed: str | None) -> tuple[Device, ...]:
    """Return those of ``devices`` that a visibility variable's text lets see, in its order.

    As CUDA reads it: the list ends at the first entry that is no device, an empty one means none, and a UUID may be
    shortened.
    """
    if listed is None:
        return devices
    found: list[Device] = []
    for entry in listed.split(","):
        device = match(devices, entry.strip())
        if device is None or device in found:
            break
        found.append(device)
    return tuple(found)


def match(devices: Iterable[Device], entry: str) -> Device | None:
    """Return the device that ``entry`` (an index, a UUID or the beginning of one) names."""
    if not entry:
        return None
    for device in devices:
        if entry == device.id or (entry.startswith("GPU-") and device.uuid.startswith(entry)):
            return device
    if entry.startswith("MIG-"):
        # A slice of a GPU, which the driver's files don't list; CUDA lets a process use one.
        return Device("GPU", entry, uuid=entry)
    return None


def select(devices: tuple[Device, ...], ids: str) -> tuple[list[Device], list[str]]:
    """Return the devices that ``gpu_ids`` names (``0,2``, ``0-3``, UUIDs), and the entries that are none of them."""
    chosen: list[Device] = []
    strange: list[str] = []
    for entry in expand(ids):
        device = match(devices, entry)
        if device is None:
            strange.append(entry)
        elif device not in chosen:
            chosen.append(device)
    return chosen, strange


def expand(ids: str) -> list[str]:
    """Return the entries of a list of ids, each range (``0-3``) written out."""
    entries: list[str] = []
    for entry in (part.strip() for part in ids.split(",")):
        first, dash, last = entry.partition("-")
        if dash and first.isdecimal() and last.isdecimal():
            entries += map(str, range(int(first), min(int(last), int(first) + 1023) + 1))
        elif entry:
            entries.append(entry)
    return entries
