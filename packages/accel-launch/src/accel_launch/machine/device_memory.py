"""Which processes hold memory of accelerators, by the drivers: also processes that have ended, for a moment.

And how busy the devices are on which they do.
"""

from __future__ import annotations

import os

from accel_config.settings.readers import natural
from accel_launch.machine.devices import amd
from accel_launch.machine.devices.nvidia import PROGRAM
from accel_launch.machine.files import read
from accel_launch.machine.probe import Programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

QUERY = ("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")
PLACES = ("--query-compute-apps=pid,gpu_uuid", "--format=csv,noheader,nounits")
BUSY = ("--query-gpu=gpu_uuid,utilization.gpu", "--format=csv,noheader,nounits")
AMD_BUSY = "sys/class/drm/renderD{}/device/gpu_busy_percent"
PATIENCE = 5.0  # seconds for a driver to answer
WIDEST = 200  # characters of what a program prints when it fails
FIRST_NAMESPACE = "pid:[4026531836]"
"""The namespace of pids that the kernel begins with."""


def known(root: str = "/") -> bool:
    """Return whether a driver can be asked."""
    return os.path.isdir(os.path.join(root, amd.PROCESSES)) or Programs().find(PROGRAM) is not None


def held(pids: Collection[int], root: str = "/") -> set[int]:
    """Return those of ``pids``, all of which have ended, that hold memory; and others that have ended.

    A container may see other pids than the driver. There only ``pids`` are sure to be what they seem.
    """
    return {pid for pid in _holders(root) if pid in pids or (_sees_all() and _ended(pid))}


def used(root: str = "/") -> dict[int, int]:
    """Return the bytes that each process holds on all devices, by pid."""
    found = {pid: sum(sizes.values()) for pid, sizes in amd.memory(root).items()}
    path = Programs().find(PROGRAM)
    for line in answer(path, *QUERY, seconds=PATIENCE).splitlines() if path is not None else ():
        pid, _, size = (word.strip() for word in line.partition(","))
        if pid.isdecimal() and size.isdecimal():
            found[int(pid)] = found.get(int(pid), 0) + (int(size) << 20)
    return found


def busy(root: str = "/") -> dict[int, float]:
    """Return how busy the devices are on which each process holds memory, in percent; the mean of several."""
    percents = {card.gpu: natural(read(root, AMD_BUSY.format(card.minor))) for card in amd.cards(root)}
    found = {
        pid: [percent for gpu in sizes if (percent := percents.get(gpu)) is not None]
        for pid, sizes in amd.memory(root).items()
    }
    path = Programs().find(PROGRAM)
    places, rates = (pairs(answer(path, *words, seconds=PATIENCE)) if path else [] for words in (PLACES, BUSY))
    nvidia = {device: int(rate) for device, rate in rates if rate.isdecimal()}
    for pid, device in places:
        if pid.isdecimal() and device in nvidia:
            found.setdefault(int(pid), []).append(nvidia[device])
    return {pid: sum(each) / len(each) for pid, each in found.items() if each}


def pairs(text: str) -> list[tuple[str, str]]:
    """Return the two columns of what a driver's program prints."""
    parts = (line.partition(",") for line in text.splitlines())
    return [(first.strip(), second.strip()) for first, _, second in parts]


def _holders(root: str) -> set[int]:
    found = {pid for pid, sizes in amd.memory(root).items() if sizes}
    path = Programs().find(PROGRAM)
    lines = answer(path, *QUERY).splitlines() if path is not None else []
    return found | {int(first) for line in lines if (first := line.partition(",")[0].strip()).isdecimal()}


def answer(*words: str, seconds: float | None = None) -> str:
    """Return what a program prints; empty if it fails, or takes longer."""
    return asked(*words, seconds=seconds) or ""


def asked(*words: str, seconds: float | None = None) -> str | None:
    """Return what a program prints; None if it fails, or takes longer."""
    found, failed = answered(*words, seconds=seconds)
    return None if failed else found


def answered(*words: str, seconds: float | None = None) -> tuple[str, str]:
    """Return what a program prints, and how it has failed, as what follows its name; empty if it hasn't."""
    import subprocess  # noqa: TID251 - a question, in a fork that waits for the answer

    from accel_launch.ranks.system.prctl import die_with

    parent = os.getpid()
    try:
        process = subprocess.Popen(  # noqa: S603
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            preexec_fn=lambda: die_with(parent),  # noqa: PLW1509  we have no threads
        )
    except OSError as error:
        return "", f"can't be started: {error.strerror}"
    try:
        found, complaint = (printed.decode(errors="replace") for printed in process.communicate(timeout=seconds))
    except subprocess.TimeoutExpired:
        process.kill()  # one that hangs in the driver doesn't end, and isn't waited for
        return "", f"didn't answer within {seconds:g} s"
    if not process.returncode:
        return found, ""
    said = " ".join(f"{complaint} {found}".split())[:WIDEST]
    return "", f"failed with status {process.returncode}{': ' if said else ''}{said}"


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
