"""Accelerators of this machine, found without torch in the files of their drivers."""

from __future__ import annotations

import os

from accel_config.record import Record
from accel_config.settings.readers import natural
from accel_launch.machine.files import names, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Device(Record):
    """One accelerator."""

    kind: str
    """``GPU``, ``NPU``, ...: its ``distributed_type`` is ``MULTI_<kind>``."""
    id: str
    """Its name in the vendor's visibility variable: an index, or a UUID if the user set one."""
    uuid: str = ""
    model: str = ""
    pci: str = ""
    """Its PCI address as the kernel writes it, such as ``0000:3b:00.0``; empty if it isn't known."""
    whole: tuple[str, ...] = ()
    """Number and UUID of the GPU of which it is a slice (MIG), if these are known."""

    def __str__(self) -> str:
        """Return kind and id."""
        return f"{self.kind} {self.id}"

    @property
    def slice(self) -> bool:
        """Whether it is a slice of a GPU (MIG), of which a process sees only one."""
        return self.uuid.startswith("MIG-")

    @property
    def bf16(self) -> bool:
        """Whether it is known to compute in bfloat16: an NVIDIA GPU from Ampere on, by its model, or a TPU."""
        if self.kind != "GPU":
            return self.kind in BF16_KINDS
        import re

        return "Quadro" not in self.model and re.search(BF16_MODELS, self.model) is not None


BF16_KINDS = frozenset(("TPU", "HPU", "XPU", "NEURON"))
BF16_MODELS = r"\b(A|H|B|L|GH|GB)\d+|\bRTX (A\d{4}|[3-9]\d{3})\b|\bAda\b|\bBlackwell\b"
"""Ampere, Hopper, Blackwell and Ada among the models that NVIDIA's driver names; a Quadro is at most a Turing."""


class Vendor(Record):
    """How one kind of accelerator is found and narrowed."""

    kind: str
    variables: tuple[str, ...]
    """Visibility variables. The launcher sets the first one."""
    nodes: tuple[str, ...]
    """Prefixes of its device files below the root; a number follows each."""


# In the order in which the library looks for them. The first kind that is found decides.
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
HIERARCHY = "ZE_FLAT_DEVICE_HIERARCHY"
"""Intel's: each tile is a device, unless it is COMPOSITE; then a mask may name tiles of a card, ``0.1``."""
OLD = "MIG-GPU-"
"""How the older form of a slice's name begins."""
CORE = "neuron_core"
NEURON = "sys/devices/virtual/neuron_device/neuron{}"
BY_KIND = {vendor.kind: vendor for vendor in reversed(VENDORS)}


def find(environ: Mapping[str, str], root: str = "/") -> tuple[Device, ...]:
    """Return the visible accelerators of the first kind that is found.

    ``root`` is the folder with ``dev``, ``proc`` and ``sys``.
    """
    for vendor in VENDORS:
        devices = _present(vendor, root, environ)
        if devices:
            return _narrowed(devices, vendor, environ)
    return ()


def absence(environ: Mapping[str, str], root: str = "/") -> str:
    """Return what is known of why none is found, to follow ``no device is found``; empty if there simply is none."""
    for vendor in VENDORS:
        hiding = [f"{name}={environ[name]}" for name in vendor.variables if name in environ]
        if hiding and _present(vendor, root, environ):
            return f", since {' and '.join(hiding)} hides them"
    signs = {"dev/dxg": "nvidia-smi lists none", "proc/driver/nvidia/gpus": "/dev/nvidia0 is missing"}
    return next((f" (/{a} is there, but {b})" for a, b in signs.items() if os.path.exists(os.path.join(root, a))), "")


def stated(found: tuple[Device, ...], count: int, kind: str, environ: Mapping[str, str]) -> tuple[Device, ...]:
    """Return the visible ones of this machine's ``count`` devices; ``found`` are those of which more is known."""
    known = {device.id: device for device in found}
    devices = tuple(known.get(str(place)) or Device(kind, str(place)) for place in range(count))
    return _narrowed(devices, BY_KIND[kind], environ)


def _narrowed(devices: tuple[Device, ...], vendor: Vendor, environ: Mapping[str, str]) -> tuple[Device, ...]:
    for variable in vendor.variables:
        listed = environ.get(variable)
        if listed is not None and vendor.kind == "NEURON":
            listed = ",".join(expand(listed))
        if listed is not None and vendor.kind == "XPU" and environ.get(HIERARCHY, "").upper() == "COMPOSITE":
            listed = ",".join(dict.fromkeys(entry.strip().partition(".")[0] for entry in listed.split(",")))
        devices = visible(devices, listed)
    return devices


def _present(vendor: Vendor, root: str, environ: Mapping[str, str]) -> tuple[Device, ...]:
    if vendor.kind == "XPU":
        tiles = environ.get(HIERARCHY, "").upper() != "COMPOSITE"
        return tuple(Device("XPU", str(place), pci=pci) for place, pci in enumerate(_intel(root, tiles=tiles)))
    if vendor.kind == "NEURON":
        return tuple(Device("NEURON", str(place)) for place in range(_neuron(root)))
    if vendor.nodes == ("kfd",):
        return _amd(root)
    numbers = sorted(number for prefix in vendor.nodes for number in _numbered(root, prefix))
    if vendor.kind == "GPU":
        return _nvidia(numbers, root) if numbers else _windows(root) or _jetson(root)
    return tuple(Device(vendor.kind, str(place)) for place in range(len(numbers)))


def _numbered(root: str, prefix: str) -> list[int]:
    folder, _, start = prefix.rpartition("/")
    ends = [name.removeprefix(start) for name in names(os.path.join(root, folder)) if name.startswith(start)]
    return [int(end) for end in ends if end.isdecimal()]


def _nvidia(numbers: list[int], root: str) -> tuple[Device, ...]:
    """Return NVIDIA's devices in CUDA's order: by PCI address, if the driver's folder lists them; or their slices."""
    folder = os.path.join(root, "proc/driver/nvidia/gpus")
    facts: dict[int, dict[str, str]] = {}
    for name in names(folder):
        lines = read(folder, name, "information").splitlines()
        fact = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        if fact.get("Device Minor", "").isdecimal():
            facts[int(fact["Device Minor"])] = {**fact, "address": name.lower()}
    minors = [n for n in numbers if n in facts] or numbers
    known = [facts.get(number, {}) for number in minors]
    found = tuple(
        Device("GPU", str(place), fact.get("GPU UUID", ""), fact.get("Model", ""), fact.get("address", ""))
        for place, fact in enumerate(known)
    )
    sliced = os.path.isdir(os.path.join(root, "proc/driver/nvidia/capabilities"))
    return _in_slices(dict(zip(minors, found, strict=True)), root) if sliced else found


def _in_slices(found: dict[int, Device], root: str) -> tuple[Device, ...]:
    """Return NVIDIA's devices, by their minor numbers, with the slices of each that has some in its place."""
    from accel_launch.machine.devices import nvidia

    by_files = {minor: nvidia.slices(root, minor, device.uuid) for minor, device in found.items()}
    cards = nvidia.listed(root) if any(by_files.values()) else []
    by_name = {name: card.slices for card in cards for name in (card.index, card.uuid)}
    devices: list[Device] = []
    for minor, device in found.items():
        old = by_files[minor] if device.uuid else ()
        slices = by_files[minor] and (by_name.get(device.uuid or device.id) or old)
        devices += [
            device.replace(
                id=one.uuid,
                uuid=one.uuid,
                model=f"{device.model} MIG {one.profile}".strip(),
                whole=(device.id, device.uuid),
            )
            for one in slices
        ] or [device]
    return tuple(devices)


def _amd(root: str) -> tuple[Device, ...]:
    if not os.path.isdir(os.path.join(root, "sys/class/kfd")):
        return ()
    from accel_launch.machine.devices import amd

    return tuple(Device("GPU", str(place), model="AMD", pci=card.pci) for place, card in enumerate(amd.cards(root)))


def _neuron(root: str) -> int:
    """Count the cores of AWS's chips: its runtime gives a process cores. An old driver doesn't list them."""
    folders = (os.path.join(root, NEURON.format(chip)) for chip in _numbered(root, "dev/neuron"))
    return sum(max(1, len(_numbered(folder, CORE))) for folder in folders)


def _windows(root: str) -> tuple[Device, ...]:
    """Return NVIDIA's devices in Linux on Windows (WSL), where only its program lists them."""
    if not os.path.exists(os.path.join(root, "dev/dxg")):
        return ()
    from accel_launch.machine.devices import nvidia

    return tuple(Device("GPU", card.index, uuid=card.uuid, model=card.model) for card in nvidia.listed(root))


def _jetson(root: str) -> tuple[Device, ...]:
    """Return the GPU inside an NVIDIA Jetson, which has no numbered device file."""
    model = read(root, "proc/device-tree/model").rstrip("\0")
    return (Device("GPU", "0", model=model),) if os.path.exists(os.path.join(root, "dev/nvhost-gpu")) else ()


def _intel(root: str, *, tiles: bool) -> list[str]:
    """Return the PCI address of each of Intel's discrete GPUs, which report local memory, or of each tile."""
    cards = os.path.join(root, "sys/class/drm")
    return sorted(
        os.path.basename(os.path.realpath(os.path.join(cards, name, "device")))
        for name in names(cards)
        if name.startswith("card")
        and name[4:].isdecimal()
        and read(cards, name, "device/vendor") == "0x8086"
        and (os.path.exists(os.path.join(cards, name, "lmem_total_bytes")) or _is_xe(cards, name))
        for _tile in range(max(1, _tiles(cards, name)) if tiles else 1)
    )


def _tiles(cards: str, name: str) -> int:
    """Count the tiles of a card: the driver xe lists tiles, the driver i915 each tile's part for computing."""
    xe, i915 = (names(os.path.join(cards, name, folder)) for folder in ("device", "gt"))
    return len([one for one in xe if one.startswith("tile")] or [one for one in i915 if one.startswith("gt")])


def _is_xe(cards: str, name: str) -> bool:
    return os.path.exists(os.path.join(cards, name, "device/tile0/physical_vram_size_bytes"))


def visible(devices: tuple[Device, ...], listed: str | None) -> tuple[Device, ...]:
    """Return the ``devices`` that are in a visibility variable's list, in its order.

    The rules are CUDA's: the list ends at the first entry that isn't a device, an empty list means no device, and a
    UUID can be shortened.
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
    names = [(device, (device.id, device.uuid, *device.whole)) for device in devices]
    for device, own in names:
        if entry in own or (entry.startswith("GPU-") and any(name.startswith(entry) for name in own)):
            return device  # of a GPU in slices, CUDA takes the first
    listed = any(device.slice and not device.uuid.startswith(OLD) for device, _own in names)
    unlisted = entry.startswith("MIG-") and (entry.startswith(OLD) or not listed)  # or not by this name
    unknown = entry.startswith("GPU-") and any(one.kind == "GPU" and not one.uuid for one, _own in names)
    return Device("GPU", entry, uuid=entry) if unlisted or unknown else None


def select(devices: tuple[Device, ...], ids: str) -> tuple[list[Device], list[str]]:
    """Return the devices of ``gpu_ids`` (``0,2``, ``0-3``, UUIDs), and the entries that match no device."""
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
    """Return the entries of a list of ids, with each range (``0-3``) written out."""
    entries: list[str] = []
    for entry in (part.strip() for part in ids.split(",")):
        first, dash, last = entry.partition("-")
        low, high = natural(first), natural(last)
        if dash and low is not None and high is not None:
            entries += map(str, range(low, min(high, low + 1023) + 1))
        elif entry:
            entries.append(entry)
    return entries
