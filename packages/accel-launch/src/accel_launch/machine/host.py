"""Facts about this machine, read once and passed to the planner."""

from __future__ import annotations

import os
import sys

from accel_config.record import Record
from accel_launch.machine import cgroup, devices
from accel_launch.machine.files import node, read
from accel_launch.machine.probe import Probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Host(Record):
    """The machine that a plan is made for; in a test, an invented one."""

    name: str = "localhost"
    """Its host name."""
    environ: Mapping[str, str] = {}
    """The environment variables of the launcher."""
    devices: tuple[devices.Device, ...] = ()
    """The visible accelerators."""
    cores: int = 1
    """Physical cores that this process may use, within its affinity and its cgroup's quota."""
    python: str = "python3"
    """The interpreter that runs us."""
    cwd: str = "."
    """The launcher's working folder; empty if it no longer exists."""
    driver: str = ""
    """The version of NVIDIA's driver; empty without one."""
    probe: Probe = Probe()
    """Questions that are asked only if the plan depends on the answer."""

    @classmethod
    def here(cls) -> Host:
        """Read the facts of this machine."""
        environ = dict(os.environ)
        try:
            cwd = os.getcwd()
        except OSError:
            cwd = ""
        return cls(
            name=node(),
            environ=environ,
            devices=devices.find(environ),
            cores=cores(),
            python=sys.executable or "python3",
            cwd=cwd,
            driver=_driver(),
            probe=Probe(),
        )


def _driver() -> str:
    words = read("/proc/driver/nvidia/version").split()
    return next((word for word in words if word[:1].isdigit() and "." in word), "")


def cores() -> int:
    """Return the number of physical cores in our affinity, at most the cgroup's quota."""
    siblings = {
        read(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or str(cpu)
        for cpu in cgroup.affinity()
    }
    quota = cgroup.cpus()
    return max(1, min(len(siblings), int(quota)) if quota else len(siblings))
