"""Who has taken a device: the name of a socket, which the kernel frees when its process ends, however that ends.

Names begin with a null byte: they need no file, no folder that all users may write, and nobody cleans up after them.
They hold within a network namespace: containers with networks of their own don't see each other's.
"""

from __future__ import annotations

import time

from accel_config.errors import AccelError
from accel_launch.ranks.system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from accel_launch.machine.devices import Device

NAME = "\0accel-device"
"""How the names begin. Who chooses takes this one: of two that need several devices, one gets all of its own."""
SECONDS = 10.0
TAKEN: dict[str, socket.socket] = {}
"""What this process has taken; it may take them again. Ranks that are forked don't keep them."""


def take(devices: Sequence[Device], wanted: int) -> tuple[list[Device], dict[str, str]]:
    """Take ``wanted`` devices, the first that can be had, until this process ends; all that can be had if it is 0.

    Returns:
        The devices, none if there are fewer; and who has the others, by id.

    Raises:
        AccelError: another process chooses for too long, or this system has no such names.
    """
    if not calls.ABSTRACT:
        raise AccelError("gpu_ids idle: devices can only be taken on Linux; name them by their ids")
    got: list[Device] = []
    others: dict[str, str] = {}
    choosing = _choosing()
    try:
        new: dict[str, socket.socket] = {}
        for device in devices:
            if wanted and len(got) == wanted:
                break
            name = f"{NAME}-{device.uuid or f'{device.kind}-{device.id}'}"
            held = TAKEN.get(name) or _bound(name)
            if held is None:
                others[device.id] = f"taken by {_holder(name)}"
                continue
            got.append(device)
            if name not in TAKEN:
                new[name] = held
        if got and len(got) >= wanted:
            TAKEN.update(new)
            return got, others
        for held in new.values():
            held.close()
        return [], others
    finally:
        choosing.close()


def _choosing() -> socket.socket:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        held = _bound(NAME)
        if held is not None:
            return held
        time.sleep(0.005)
    raise AccelError(f"gpu_ids idle: {_holder(NAME)} has been choosing devices for {SECONDS:g} s")


def _bound(name: str) -> socket.socket | None:
    """Return a socket of this name; None if another process has it."""
    import socket

    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind(name)
        held.listen()
    except OSError:
        held.close()
        return None
    return held


def _holder(name: str) -> str:
    """Return who has a socket's name."""
    import socket

    with socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)
        try:
            asking.connect(name)
            pid = calls.peer(asking)[0]
        except OSError:  # it has ended, or too many have asked
            return "another launch"
    return f"the launch with pid {pid}" if pid else "a launch in another container"
