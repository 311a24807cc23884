"""NVIDIA's devices and their slices (MIG), as its program and the files of its driver list them."""

from __future__ import annotations

import os

from accel_config.record import Record
from accel_launch.machine.files import names
from accel_launch.machine.probe import Programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

PROGRAM = "nvidia-smi"
IN_WINDOWS = "usr/lib/wsl/lib/nvidia-smi"
SLICES = "proc/driver/nvidia/capabilities/gpu{}/mig"
GPU = r"GPU (\d+): (.*) \(UUID: (GPU-[^)]+)\)"
SLICE = r"MIG (\S+) +Device +(\d+): +\(UUID: (MIG-[^)]+)\)"


class Slice(Record):
    """A part of a device that CUDA takes for a device (a compute instance)."""

    uuid: str
    profile: str = ""
    """Its size, such as ``1g.10gb``."""
    place: str = ""
    """Its number among those of its device."""


class Card(Record):
    """A device that the program lists."""

    index: str
    uuid: str
    model: str
    slices: tuple[Slice, ...] = ()


def listed(root: str = "/") -> list[Card]:
    """Return what NVIDIA's program lists; nothing if there is none, or it fails."""
    import re

    programs = Programs()
    path = programs.find(PROGRAM) or os.path.join(root, IN_WINDOWS)
    found: list[Card] = []
    for line in programs.output(path, "-L").splitlines() if os.access(path, os.X_OK) else ():
        if row := re.fullmatch(GPU, line.strip()):
            found.append(Card(row[1], row[3], row[2]))
        elif found and (row := re.fullmatch(SLICE, line.strip())):
            found[-1] = found[-1].replace(slices=(*found[-1].slices, Slice(row[3], row[1], row[2])))
    return found


def slices(root: str, minor: int, uuid: str) -> tuple[Slice, ...]:
    """Return the slices of a device by the driver's files, which know the older form of their names alone."""
    folder = os.path.join(root, SLICES.format(minor))
    return tuple(
        Slice(f"MIG-{uuid}/{instance}/{part}")
        for instance in _numbers(folder, "gi")
        for part in _numbers(os.path.join(folder, f"gi{instance}"), "ci")
    )


def _numbers(folder: str, start: str) -> list[int]:
    ends = [name.removeprefix(start) for name in names(folder) if name.startswith(start)]
    return sorted(int(end) for end in ends if end.isdecimal())


def use_of_slices(cards: list[Card], report: str) -> dict[str, tuple[list[str], str]]:
    """Return for each slice, by UUID, the processes that compute on it and the MiB that are held.

    Args:
        cards: What the program lists.
        report: What it prints for ``-q -x``, which names no UUID of a slice.
    """
    from xml.etree import ElementTree as Xml

    try:
        gpus = {gpu.findtext("uuid"): gpu for gpu in Xml.fromstring(report).iter("gpu")}  # noqa: S314  the driver's own
    except Xml.ParseError:
        return {}
    found: dict[str, tuple[list[str], str]] = {}
    for card in cards:
        gpu = gpus.get(card.uuid)
        parts = {} if gpu is None else {one.findtext("index"): one for one in gpu.iter("mig_device")}
        for one in card.slices:
            part = parts.get(one.place)
            if gpu is not None and part is not None:
                own = _place(part)
                pids = [info.findtext("pid", "") for info in gpu.iter("process_info") if _place(info) == own]
                found[one.uuid] = pids, part.findtext("fb_memory_usage/used", "").partition(" ")[0]
    return found


def _place(element: Element) -> list[str]:
    return [element.findtext(f"{kind}_instance_id", "") for kind in ("gpu", "compute")]
