"""Where the facts of this machine come from: an installed package that knows its devices."""

from __future__ import annotations

from accel_config.settings.machine import MachineFacts

GROUP = "accel_config.asking.machine"
"""The group of entry points that know the machine: a function without arguments, whose result has ``devices`` (each
with a ``kind`` and ``bf16``) and ``cores``. accel-launch has one, accel-tpu one for TPU chips; the one that finds
devices counts. accel-config alone knows no device."""
KNOWN = ("accel-launch", "accel-tpu")
"""The distributions whose entry points are loaded: no stranger's code runs to tell this machine's devices."""


def this_machine() -> MachineFacts:
    """Return the facts of this machine; unknown where no installed package knows it."""
    from importlib.metadata import entry_points

    found = MachineFacts(known=False)
    for point in entry_points(group=GROUP):
        if point.dist is None or point.dist.name not in KNOWN:
            continue
        host = point.load()()
        devices = list(host.devices)
        if devices or not found.known:
            kind = devices[0].kind if devices else ""
            bf16 = bool(devices) and all(device.bf16 for device in devices)
            found = MachineFacts(kind, len(devices), max(host.cores, found.cores), bf16)
    return found
