"""Which network interface leads to another machine. The kernel is asked; nothing is sent."""

from __future__ import annotations

import array
import fcntl
import socket
import struct

from accel_config.record import Record

from .devices import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SIOCGIFCONF = 0x8912
ENTRY = 40  # bytes of a struct ifreq
NUMERIC = socket.AI_NUMERICHOST
DISCARD = 9  # a port that is never sent to


class Route(Record):
    """The way to an address."""

    interface: str
    address: str
    """Of this machine, as the other one sees it."""


def towards(address: str, *, look_up: bool) -> Route | None:
    """Return the way to ``address``; None where it isn't known. A name is only looked up where that is allowed.

    A name that stands for this machine's loopback, as a machine's own name often does, says nothing about the way
    that others come.
    """
    try:
        found = socket.getaddrinfo(address, DISCARD, type=socket.SOCK_DGRAM, flags=0 if look_up else NUMERIC)
    except OSError:
        return None
    for family, kind, protocol, _name, where in found:
        own = _own(family, kind, protocol, where)
        interface = interfaces().get(own)
        if interface is not None and (not _loopback(own) or address in (own, "localhost")):
            return Route(interface, own)
    return None


def numeric(address: str) -> bool:
    """Whether it is an address of IPv4 or IPv6, which nobody has to look up."""
    try:
        return bool(socket.getaddrinfo(address, DISCARD, type=socket.SOCK_DGRAM, flags=NUMERIC))
    except OSError:
        return False


def _own(family: int, kind: int, protocol: int, where: Any) -> str:
    try:
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(where)
            return str(probe.getsockname()[0]).partition("%")[0]
    except OSError:
        return ""


def _loopback(address: str) -> bool:
    return address == "::1" or address.startswith("127.")


def interfaces() -> dict[str, str]:
    """Return the name of each address's interface."""
    return {**_version_6(), **_version_4()}


def _version_4() -> dict[str, str]:
    room = array.array("B", bytes(ENTRY * 1024))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        told = fcntl.ioctl(probe, SIOCGIFCONF, struct.pack("iP", len(room), room.buffer_info()[0]))
    size: int = struct.unpack("iP", told)[0]
    entries = [room[place : place + ENTRY].tobytes() for place in range(0, size, ENTRY)]
    # An alias (eth0:1) is an address of eth0.
    return {socket.inet_ntoa(e[20:24]): e[:16].partition(b"\0")[0].decode().partition(":")[0] for e in entries}


def _version_6() -> dict[str, str]:
    lines = [line.split() for line in read("/proc/net/if_inet6").splitlines()]
    return {socket.inet_ntop(socket.AF_INET6, bytes.fromhex(words[0])): words[5] for words in lines if len(words) > 5}  # noqa: PLR2004
