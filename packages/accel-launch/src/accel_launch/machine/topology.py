"""The cores of a machine, from the kernel's files: their CPUs, NUMA nodes and sockets."""

from __future__ import annotations

import os

from accel_config.record import Record
from accel_config.settings.readers import cpus, natural
from accel_launch.machine.files import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Core(Record):
    """A physical core."""

    cpus: frozenset[int]
    """Its CPUs, which are its hardware threads: those that may be used."""
    node: int = 0
    """Its NUMA node."""
    socket: int = 0
    """The package that it is in."""


class Topology:
    """What the kernel shows of a machine's CPUs."""

    def __init__(self, allowed: Iterable[int], root: str = "/") -> None:
        """Take the CPUs that may be used, and the folder with ``sys``; a made-up machine is a folder too."""
        self.root = root
        self.cpus = frozenset(allowed) & (_listed(root, "sys/devices/system/cpu/online") or frozenset(allowed))
        """The CPUs that may be used and are online."""

        self.cores = self._cores()
        """Their cores, those of one NUMA node together, in the order of nodes and sockets."""

    def _cores(self) -> tuple[Core, ...]:
        nodes = self._nodes()
        found: dict[frozenset[int], Core] = {}
        for cpu in sorted(self.cpus):
            folder = os.path.join(self.root, f"sys/devices/system/cpu/cpu{cpu}/topology")
            threads = _listed(folder, "thread_siblings_list") & self.cpus | {cpu}
            socket = natural(read(folder, "physical_package_id")) or 0  # -1 in some virtual machines
            found.setdefault(threads, Core(threads, nodes.get(cpu, 0), socket))
        return tuple(sorted(found.values(), key=lambda core: (core.node, core.socket, min(core.cpus))))

    def _nodes(self) -> dict[int, int]:
        """Return the NUMA node of each CPU; none where the kernel knows of no nodes."""
        folder = os.path.join(self.root, "sys/devices/system/node")
        try:
            names = os.listdir(folder)
        except OSError:
            return {}
        numbers = [natural(name.removeprefix("node")) for name in names if name.startswith("node")]
        lists = {number: _listed(folder, f"node{number}", "cpulist") for number in numbers if number is not None}
        return {cpu: number for number, found in lists.items() for cpu in found}

    def near(self, address: str) -> frozenset[int]:
        """Return the CPUs near the device at a PCI address; none if the firmware doesn't say which node it is on."""
        folder = os.path.join(self.root, "sys/bus/pci/devices", address)
        if not address or natural(read(folder, "numa_node")) is None:  # -1 is that it isn't known
            return frozenset()
        return _listed(folder, "local_cpulist")


def _listed(*path: str) -> frozenset[int]:
    """Return the CPUs of a file; none if it can't be read."""
    try:
        return cpus(read(*path))
    except ValueError:
        return frozenset()
