"""The TPU chips of this machine, for the questions of `accelerate config`."""

from __future__ import annotations

from accel_config.record import Record
from accel_launch.machine.devices import Device
from accel_tpu.host import count_chips


class TpuHost(Record):
    """A machine with the facts that the wizard asks for."""

    devices: tuple[Device, ...] = ()
    cores: int = 1


def here(root: str = "/") -> TpuHost:
    """Return the chips of this machine; ``root`` is the folder of ``sys``."""
    return TpuHost(tuple(Device("TPU", str(place)) for place in range(count_chips(root))))
