"""Which processes hold memory of accelerators, by the drivers: also processes that have ended, for a moment.

And how busy the devices are on which they do.
"""

from __future__ import annotations

import os

from accel_launch.machine.files import read
from accel_launch.machine.probe import Programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

NVIDIA = "nvidia-smi"
QUERY = ("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")
PLACES = ("--query-compute-apps=pid,gpu_uuid", "--format=csv,noheader,nounits")
BUSY = ("--query-gpu=gpu_uuid,utilization.gpu", "--format=csv,noheader,nounits")
AMD = "sys/class/kfd/kfd/proc"
"""AMD's driver: a folder for each process, with a file for the memory on each device."""
AMD_DEVICES = "sys/class/kfd/kfd/topology/nodes"
AMD_BUSY = "sys/class/drm/renderD{}/device/gpu_busy_percent"
PATIENCE = 5.0  # seconds for a driver to answer
FIRST_NAMESPACE = "pid:[4026531836]"
"""The namespace of pids that the kernel begins with."""


def known(root: str = "/") -> bool:
    """Return whether a driver can be asked."""
    return os.path.isdir(os.path.join(root, AMD)) or Programs().find(NVIDIA) is not None


def held(pids: Collection[int], root: str = "/") -> set[int]:
    """Return those of ``pids``, all of which have ended, that hold memory; and others that have ended.

    A container may see other pids than the driver. There only ``pids`` are sure to be what they seem.
    """
    return {pid for pid in _holders(root) if pid in pids or (_sees_all() and _ended(pid))}


def used(root: str = "/") -> dict[int, int]:
    """Return the bytes that each process holds on all devices, by pid."""
    found: dict[int, int] = {}
    amd = os.path.join(root, AMD)
    for pid in names(amd):
        folder = os.path.join(amd, pid)
        sizes = (read(folder, name) for name in names(folder) if name.startswith("vram_"))
        found[int(pid)] = sum(int(size) for size in sizes if size.isdecimal())
    path = Programs().find(NVIDIA)
    for line in answer(path, *QUERY, seconds=PATIENCE).splitlines() if path is not None else ():
        pid, _, size = (word.strip() for word in line.partition(","))
        if pid.isdecimal() and size.isdecimal():
            found[int(pid)] = found.get(int(pid), 0) + (int(size) << 20)
    return found


def busy(root: str = "/") -> dict[int, float]:
    """Return how busy the devices are on which each process holds memory, in percent; the mean of several."""
    found: dict[int, list[int]] = {}
    amd = _amd_devices(root)
    for pid in names(os.path.join(root, AMD)):
        held = [name[len("vram_") :] for name in names(os.path.join(root, AMD, pid)) if name.startswith("vram_")]
        found[int(pid)] = [
            amd[gpu] for gpu in held if gpu in amd and read(root, AMD, pid, f"vram_{gpu}") not in ("", "0")
        ]
    path = Programs().find(NVIDIA)
    places, percents = (pairs(answer(path, *words, seconds=PATIENCE)) if path else [] for words in (PLACES, BUSY))
    nvidia = {device: int(percent) for device, percent in percents if percent.isdecimal()}
    for pid, device in places:
        if pid.isdecimal() and device in nvidia:
            found.setdefault(int(pid), []).append(nvidia[device])
    return {pid: sum(each) / len(each) for pid, each in found.items() if each}


def pairs(text: str) -> list[tuple[str, str]]:
    """Return the two columns of what a driver's program prints."""
    parts = (line.partition(",") for line in text.splitlines())
    return [(first.strip(), second.strip()) for first, _, second in parts]


def _amd_devices(root: str) -> dict[str, int]:
    """Return how busy each of AMD's devices is, by the number that its driver gives it."""
    found: dict[str, int] = {}
    for node in names(os.path.join(root, AMD_DEVICES)):
        facts = read(root, AMD_DEVICES, node, "properties").split()
        minor = dict(zip(facts[::2], facts[1::2], strict=False)).get("drm_render_minor")
        percent = read(root, AMD_BUSY.format(minor))
        if percent.isdecimal():
            found[read(root, AMD_DEVICES, node, "gpu_id")] = int(percent)
    return found


def names(folder: str) -> list[str]:
    """Return the numbers among the names in a driver's folder, and the names of files about memory."""
    try:
        return [name for name in os.listdir(folder) if name.isdecimal() or name.startswith("vram_")]
    except OSError:
        return []


def _holders(root: str) -> set[int]:
    amd = os.path.join(root, AMD)
    try:
        found = {int(name) for name in os.listdir(amd) if name.isdecimal() and _has_memory(os.path.join(amd, name))}
    except OSError:
        found = set[int]()
    path = Programs().find(NVIDIA)
    lines = answer(path, *QUERY).splitlines() if path is not None else []
    return found | {int(first) for line in lines if (first := line.partition(",")[0].strip()).isdecimal()}


def answer(*words: str, seconds: float | None = None) -> str:
    """Return what a program prints; empty if it fails, or takes longer."""
    import subprocess  # noqa: TID251 - a question, in a fork that waits for the answer

    from accel_launch.ranks.system.prctl import die_with

    parent = os.getpid()
    try:
        asked = subprocess.Popen(  # noqa: S603
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            preexec_fn=lambda: die_with(parent),  # noqa: PLW1509  we have no threads
        )
    except OSError:
        return ""
    try:
        found, _nothing = asked.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        asked.kill()  # one that hangs in the driver doesn't end, and isn't waited for
        return ""
    return "" if asked.returncode else found.decode(errors="replace")


def _has_memory(folder: str) -> bool:
    try:
        names = [name for name in os.listdir(folder) if name.startswith("vram_")]
    except OSError:
        return False
    return any(read(folder, name) not in ("", "0") for name in names)


def _sees_all() -> bool:
    try:
        return os.readlink("/proc/self/ns/pid") == FIRST_NAMESPACE
    except OSError:
        return False


def _ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is another user's
        return False
    return False
