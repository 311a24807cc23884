"""AMD's devices, as the files of its driver list them."""

from __future__ import annotations

import os

from accel_config.record import Record
from accel_config.settings.readers import natural
from accel_launch.machine.files import names, read

NODES = "sys/class/kfd/kfd/topology/nodes"
PROCESSES = "sys/class/kfd/kfd/proc"
"""A folder for each process that computes, with a file for the memory on each device."""


class Card(Record):
    """A device, or a partition of one."""

    gpu: str
    """The number that its driver gives it."""
    minor: str
    """The number of its file ``renderD``."""
    pci: str


def cards(root: str) -> list[Card]:
    """Return the devices in the order of the driver's nodes; some nodes are processors."""
    nodes = os.path.join(root, NODES)
    found: list[Card] = []
    for name in sorted(filter(str.isdecimal, names(nodes)), key=int):
        lines = [line.split() for line in read(nodes, name, "properties").splitlines()]
        facts = {words[0]: number for words in lines if words and (number := natural(words[-1])) is not None}
        if facts.get("simd_count"):
            place = facts.get("location_id", 0)
            pci = f"{facts.get('domain', 0):04x}:{place >> 8 & 0xFF:02x}:{place >> 3 & 0x1F:02x}.{place & 7}"
            found.append(Card(read(nodes, name, "gpu_id"), str(facts.get("drm_render_minor", "")), pci))
    return found


def memory(root: str) -> dict[int, dict[str, int]]:
    """Return the bytes that each process holds on each device, by pid and the driver's number of the device."""
    folder = os.path.join(root, PROCESSES)
    return {int(pid): _held(os.path.join(folder, pid)) for pid in names(folder) if pid.isdecimal()}


def _held(folder: str) -> dict[str, int]:
    sizes = {name[len("vram_") :]: natural(read(folder, name)) for name in names(folder) if name.startswith("vram_")}
    return {gpu: size for gpu, size in sizes.items() if size}
