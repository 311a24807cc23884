"""Chooses idle devices for a launch, and waits for them."""

from __future__ import annotations

from time import monotonic, sleep

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
    _possible(devices, wanted, said)
    until, waiting = monotonic() + seconds, False
    while True:
        found = _in_use(devices, said, notes)
        # Launches that see different names of a device, such as in containers, have to mean the same one.
        same = [device.replace(uuid=device.uuid or found.uuids.get(device.id, "")) for device in devices]
        free = [] if found.failed else [device for device in same if device.id not in found.use]
        got, others = taking.take(free, wanted)
        if got:
            return got
        why = found.failed or _why(devices, {**found.use, **others}, wanted)
        left = until - monotonic()
        if left <= 0:
            way_out = "name them by their ids" if found.failed else "--wait_for_devices 30m waits for them"
            raise AccelError(f"{said}: {why}; {f'{seconds:g} s have passed' if seconds else way_out}")
        if not waiting:
            tell("accel", (f"{said}: {why}; waiting for them",))
        waiting = True
        sleep(min(PACE, left))


def look(devices: Sequence[Device], wanted: int, said: str, notes: list[str]) -> list[Device]:
    """Return the devices that are idle now, at most ``wanted``, without taking any. Add to ``notes``.

    Raises:
        AccelError: no driver tells which are idle, or none is, or there aren't so many.
    """
    _possible(devices, wanted, said)
    use = _in_use(devices, said, notes)
    found = [device for device in devices if device.id not in use.use and not use.failed]
    if not found:
        raise AccelError(f"{said}: {use.failed or _why(devices, use.use, wanted)}")
    if len(found) < wanted:
        notes.append(f"{said}: {_why(devices, use.use, wanted)}")
    return found[: wanted or None]


def _possible(devices: Sequence[Device], wanted: int, said: str) -> None:
    if wanted > len(devices):
        there = "only 1 device is" if len(devices) == 1 else f"only {len(devices)} devices are"
        raise AccelError(f"{said}: {wanted} idle devices are needed, and {there} visible")


def _in_use(devices: Sequence[Device], said: str, notes: list[str]) -> idle.InUse:
    found = idle.in_use(devices)
    if found is None:
        raise AccelError(f"{said}: no driver of this machine tells which devices are idle; name them by their ids")
    note = f"{said}: {found.note}"
    if found.note and note not in notes:
        notes.append(note)
    return found


def _why(devices: Sequence[Device], use: dict[str, str], wanted: int) -> str:
    count = len(devices) - len(use)
    needed = f", {wanted} are needed" if wanted > 1 else ""
    named = "; ".join(f"{device}: {use[device.id]}" for device in devices if device.id in use)
    return f"{count} of {len(devices)} devices {'is' if count == 1 else 'are'} idle{needed} ({named})"
