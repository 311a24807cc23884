"""Chooses idle devices for a launch, and waits for them."""

from __future__ import annotations

import time

from accel_config.errors import AccelError
from accel_config.front import tell
from accel_launch.sharing import idle, taking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_launch.machine.devices import Device

PACE = 5.0  # seconds between two questions to the driver


def choose(devices: Sequence[Device], wanted: int, seconds: float, said: str, notes: list[str]) -> list[Device]:
    """Take ``wanted`` idle devices, all idle ones if it is 0; wait for them ``seconds`` at most. Add to ``notes``.

    Raises:
        AccelError: no driver tells which are idle, or there are too few; ``said`` is the setting that asks.
    """
    until, waiting = time.monotonic() + seconds, False
    while True:
        use = _in_use(devices, said, notes)
        got, others = taking.take([device for device in devices if device.id not in use], wanted)
        if got:
            return got
        why = _why(devices, {**use, **others}, wanted, said)
        left = until - time.monotonic()
        if left <= 0:
            way_out = f"{seconds:g} s have passed" if seconds else "--wait_for_devices 30m waits for them"
            raise AccelError(f"{why}; {way_out}")
        if not waiting:
            tell("accel", (f"{why}; waiting for them",))
        waiting = True
        time.sleep(min(PACE, left))


def look(devices: Sequence[Device], wanted: int, said: str, notes: list[str]) -> list[Device]:
    """Return the devices that are idle now, at most ``wanted``, without taking any. Add to ``notes``.

    Raises:
        AccelError: no driver tells which are idle, or there are too few.
    """
    use = _in_use(devices, said, notes)
    found = [device for device in devices if device.id not in use]
    if len(found) < max(wanted, 1):
        raise AccelError(_why(devices, use, wanted, said))
    return found[: wanted or None]


def _in_use(devices: Sequence[Device], said: str, notes: list[str]) -> dict[str, str]:
    found = idle.in_use(devices)
    if found is None:
        raise AccelError(f"{said}: no driver of this machine tells which devices are idle; name them by their ids")
    if found.note:
        notes.append(f"{said}: {found.note}")
    return found.use


def _why(devices: Sequence[Device], use: dict[str, str], wanted: int, said: str) -> str:
    count = len(devices) - len(use)
    needed = f", {wanted} are needed" if wanted > 1 else ""
    named = "; ".join(f"{device}: {use[device.id]}" for device in devices if device.id in use)
    return f"{said}: {count} of {len(devices)} devices {'is' if count == 1 else 'are'} idle{needed} ({named})"
