"""Which devices somebody computes on, by their drivers."""

from __future__ import annotations

import os

from accel_launch.machine import device_memory
from accel_launch.machine.files import read
from accel_launch.machine.probe import Programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from accel_launch.machine.devices import Device

FORM = "--format=csv,noheader,nounits"
DEVICES = ("--query-gpu=index,uuid,memory.used", FORM)
PROCESSES = ("--query-compute-apps=gpu_uuid,pid", FORM)
AMD_USED = "sys/class/drm/renderD{}/device/mem_info_vram_used"
LITTLE = 1 << 30
"""Bytes that a driver, or a desktop, holds on a device that nobody computes on."""
SECONDS = 20.0  # for a driver to answer: without its daemon, NVIDIA's starts each device first


def in_use(devices: Iterable[Device], root: str = "/") -> dict[str, str] | None:
    """Return what is known of the use of each device that isn't idle, by the device's id; None if no driver tells.

    A process of another container isn't listed, but its memory counts. The use of a slice (MIG) isn't told by itself.
    """
    amd = _amd(root)
    if amd:
        return {device.id: amd[device.id] for device in devices if amd.get(device.id)}
    path = Programs().find(device_memory.NVIDIA)
    answer = path and device_memory.answer(path, *DEVICES, seconds=SECONDS)
    if not path or not answer:
        return None
    memory: dict[str, str] = {}
    uuids: dict[str, str] = {}
    for line in answer.splitlines():
        index, uuid, size = (word.strip() for word in f"{line},,".split(",")[:3])
        memory[index] = memory[uuid] = size
        uuids[index] = uuid
    pids: dict[str, list[str]] = {}
    for uuid, pid in device_memory.pairs(device_memory.answer(path, *PROCESSES, seconds=SECONDS)):
        pids.setdefault(uuid, []).append(pid)
    found: dict[str, str] = {}
    for device in devices:
        uuid = device.uuid or uuids.get(device.id, "")
        use = _use(pids.get(uuid, []), memory.get(uuid) or memory.get(device.id))
        if use:
            found[device.id] = use
    return found


def _use(pids: list[str], mebibytes: str | None) -> str:
    """Return who computes on a device, or how much memory is held there; empty if it is idle."""
    if mebibytes is None:
        return "its driver doesn't tell its use"
    if pids:
        return f"pid {', '.join(pids)}"
    held = int(mebibytes) << 20 if mebibytes.isdecimal() else 0
    return f"{held / (1 << 30):.1f} GiB are held" if held > LITTLE else ""


def _amd(root: str) -> dict[str, str]:
    """Return the use of each of AMD's devices, by its id; empty for one that is idle."""
    nodes, processes = os.path.join(root, device_memory.AMD_DEVICES), os.path.join(root, device_memory.AMD)
    found: dict[str, str] = {}
    for node in sorted(map(int, filter(str.isdecimal, device_memory.names(nodes)))):
        words = read(nodes, str(node), "properties").split()
        facts = dict(zip(words[::2], words[1::2], strict=False))
        if facts.get("simd_count", "0") == "0":
            continue
        gpu = read(nodes, str(node), "gpu_id")
        pids = [pid for pid in device_memory.names(processes) if read(processes, pid, f"vram_{gpu}") not in ("", "0")]
        used = read(root, AMD_USED.format(facts.get("drm_render_minor")))
        found[str(len(found))] = _use(pids, str(int(used) >> 20) if used.isdecimal() else "")
    return found
