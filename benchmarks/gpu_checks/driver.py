"""What NVIDIA's driver shows, by nvidia-smi: read so that what it doesn't tell is None and never a number."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 30.0
"""For an answer. Without its daemon (persistence mode off) the driver starts each device first."""
MIB = 1 << 20


FIRST = ("uuid", "name", "pci.bus_id")
MORE = ("driver_version", "mig.mode.current", "compute_mode")
"""Fields of a device; an older program lacks some of the latter."""


class Gpu:
    """A device as nvidia-smi lists it; None is what it doesn't tell."""

    def __init__(self, fields: dict[str, str | None]) -> None:
        self.uuid, self.name = fields["uuid"] or "", fields["name"] or ""
        self.pci = address(fields["pci.bus_id"] or "")
        self.driver, self.mig, self.compute_mode = (fields.get(name) for name in MORE)


def number(text: str | None) -> int | None:
    """Return a whole number of nvidia-smi; None for [N/A], [Not Supported] and the like."""
    return int(text) if text is not None and text.isdecimal() else None


def told(text: str) -> str | None:
    """Return what a field tells; None if it tells nothing."""
    return None if not text or text.startswith("[") or text in ("N/A", "No devices were found") else text


class Driver:
    """NVIDIA's program on PATH, asked anew by each call."""

    def __init__(self) -> None:
        """Look for the program."""
        self.path = shutil.which("nvidia-smi")
        self.failed = ""
        """Why the last question had no answer."""
        self.hangs = False
        """Whether it has taken too long once; then it isn't asked again."""

    def ask(self, *words: str) -> str | None:
        """Return what the program prints; None if there is none, or it fails or takes too long."""
        if self.path is None or self.hangs:
            return None
        try:
            asked = subprocess.Popen(
                [self.path, *words],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            )  # fmt: skip
        except OSError as error:
            self.failed = str(error)
            return None
        try:
            answer, complaint = asked.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            asked.kill()
            with suppress(subprocess.TimeoutExpired):  # one that hangs in the driver doesn't even end by that
                asked.communicate(timeout=1)
            self.hangs, self.failed = True, f"it hasn't answered within {SECONDS:g} s"
            return None
        if not asked.returncode:
            return answer
        self.failed = f"status {asked.returncode}: {' '.join(f'{answer} {complaint}'.split())[:200]}"
        return None

    def query(self, what: str, *fields: str) -> list[dict[str, str | None]] | None:
        """Return a row for each device or process; None if the program can't be asked, or lacks a field."""
        answer = self.ask(f"--query-{what}={','.join(fields)}", "--format=csv,noheader,nounits")
        if answer is None:
            return None
        lines = [line.split(", ") for line in answer.splitlines() if line.count(", ") == len(fields) - 1]
        return [dict(zip(fields, map(told, map(str.strip, line)), strict=True)) for line in lines]

    def gpus(self) -> list[Gpu]:
        """Return the devices; of an older program, which lacks some fields, with those that it has."""
        found = self.query("gpu", *FIRST, *MORE)
        if found is None:
            found = self.query("gpu", *FIRST) or []
            for name in MORE:
                each = self.query("gpu", name) or []
                found = [one | (each[place] if len(each) == len(found) else {}) for place, one in enumerate(found)]
        return [Gpu(one) for one in found]

    def slices(self) -> list[str]:
        """Return the UUIDs of the slices of devices (MIG)."""
        return re.findall(r"UUID: (MIG-[^)]+)\)", self.ask("-L") or "")

    def used(self, uuid: str) -> int | None:
        """Return the bytes that are held on a device, by whomever; of the first one if the UUID isn't listed."""
        rows = self.query("gpu", "uuid", "memory.used") or []
        each = next((row for row in rows if row["uuid"] == uuid), rows[0] if len(rows) == 1 else None)
        found = None if each is None else number(each["memory.used"])
        return None if found is None else found * MIB

    def holders(self) -> dict[int, int | None]:
        """Return the bytes that each process holds, by the pid that the driver gives it.

        In a container these may be pids of another namespace, or nothing at all.
        """
        found: dict[int, int | None] = {}
        for each in self.query("compute-apps", "pid", "used_memory") or []:
            pid, size = number(each["pid"]), number(each["used_memory"])
            if pid is not None:
                found[pid] = None if size is None else size * MIB
        return found


def address(pci: str) -> str:
    """Return a PCI address as the kernel writes it: nvidia-smi's domain has eight digits, the kernel's four."""
    domain, _, rest = pci.partition(":")
    return f"{domain[-4:]}:{rest}".lower() if rest else ""


def wait_for(sees: Callable[[], bool], seconds: float, pace: float = 0.05) -> float | None:
    """Return after how many seconds something is so; None if it isn't by then."""
    begun = time.monotonic()
    while True:
        if sees():
            return time.monotonic() - begun
        if time.monotonic() - begun > seconds:
            return None
        time.sleep(pace)
