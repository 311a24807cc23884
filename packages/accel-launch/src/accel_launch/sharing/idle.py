"""Which devices somebody computes on, by their drivers."""

from __future__ import annotations

import os

from accel_config.record import Record
from accel_launch.machine import device_memory
from accel_launch.machine.devices import amd, nvidia
from accel_launch.machine.files import read
from accel_launch.machine.probe import Programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from accel_launch.machine.devices import Device

FORM = "--format=csv,noheader,nounits"
DEVICES = ("--query-gpu=index,uuid,memory.used", FORM)
PROCESSES = ("--query-compute-apps=gpu_uuid,pid", FORM)
REPORT = ("-q", "-x")
AMD_USED = "sys/class/drm/renderD{}/device/mem_info_vram_used"
LITTLE = 1 << 30
"""Bytes that a driver, or a desktop, holds on a device that nobody computes on."""
SECONDS = 20.0  # for a driver to answer: without its daemon, NVIDIA's starts each device first
UNKNOWN = "its driver doesn't tell its use"
MEMORY_ALONE = "the driver doesn't list processes, so a device with at most 1 GiB of memory held counts as idle"


class InUse(Record):
    """What drivers tell of the devices that aren't idle."""

    use: dict[str, str]
    """Who computes on a device, or how much memory is held there, by the device's id."""
    note: str = ""
    """What the user should know of how that was found out."""
    uuids: Mapping[str, str] = {}
    """The UUID of each device by its number, where the driver tells that."""
    failed: str = ""
    """Why the driver tells nothing now."""


def in_use(devices: Sequence[Device], root: str = "/") -> InUse | None:
    """Return which devices aren't idle; None without a driver that tells.

    A process of another container isn't listed, but its memory counts.
    """
    found = _amd(root) or _nvidia(devices)
    if found is None or found.failed:
        return found
    told = {device.id: found.use.get(device.uuid) or found.use.get(device.id, UNKNOWN) for device in devices}
    return found.replace(use={name: use for name, use in told.items() if use})


def _use(pids: Sequence[str] | None, mebibytes: str) -> str:
    """Return who computes on a device, or how much memory is held there; empty if it is idle."""
    if pids:
        return f"pid {', '.join(pids)}"
    if not mebibytes.isdecimal():
        return UNKNOWN if pids is None else ""
    held = int(mebibytes) << 20
    size = f"{held / (1 << 30):.1f} GiB" if held > 2 * LITTLE else f"{mebibytes} MiB"
    return f"{size} are held" if held > LITTLE else ""


def _amd(root: str) -> InUse | None:
    """Return the use of each of AMD's devices, by its id; None without any."""
    listed = os.path.isdir(os.path.join(root, amd.PROCESSES))
    memory = amd.memory(root)
    found: dict[str, str] = {}
    for place, card in enumerate(amd.cards(root)):
        pids = [str(pid) for pid, sizes in memory.items() if card.gpu in sizes]
        used = read(root, AMD_USED.format(card.minor))
        found[str(place)] = _use(pids if listed else None, str(int(used) >> 20) if used.isdecimal() else "")
    return InUse(found, "" if listed else MEMORY_ALONE) if found else None


def _nvidia(devices: Sequence[Device]) -> InUse | None:
    """Return the use of each of NVIDIA's devices, by its number and its UUID; None without its program."""
    path = Programs().find(nvidia.PROGRAM)
    if not path:
        return None
    answer, failed = device_memory.answered(path, *DEVICES, seconds=SECONDS)
    if not answer.strip() or failed:
        return InUse({}, failed=f"{path} {failed or 'prints nothing'}")
    listed = device_memory.asked(path, *PROCESSES, seconds=SECONDS)
    pids: dict[str, list[str]] = {}
    for uuid, pid in device_memory.pairs(listed or ""):
        pids.setdefault(uuid, []).append(pid)
    found: dict[str, str] = {}
    uuids: Mapping[str, str] = {}
    for line in answer.splitlines():
        index, uuid, size = (word.strip() for word in f"{line},,".split(",")[:3])
        uuids[index] = uuid
        found[index] = found[uuid] = _use(None if listed is None else pids.get(uuid, []), size)
    if any(device.slice for device in devices):
        report = device_memory.answer(path, *REPORT, seconds=SECONDS)
        slices = nvidia.use_of_slices(nvidia.listed(), report)
        found.update((uuid, _use(own or pids.get(uuid), size)) for uuid, (own, size) in slices.items())
    return InUse(found, MEMORY_ALONE if listed is None else "", uuids)
