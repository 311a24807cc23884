"""The network interface that leads to another machine, for gloo and NCCL. The kernel knows it; nothing is sent.

`parent` imports this file on the ranks' interpreter, so it needs only the standard library.
"""

from __future__ import annotations

import array
import errno
import socket
import struct
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

# NCCL takes a name as a prefix unless an equals sign stands before it.
VARIABLES = {"GLOO_SOCKET_IFNAME": "{}", "NCCL_SOCKET_IFNAME": "={}"}
SIOCGIFCONF = 0x8912
ENTRY = 40  # bytes of a struct ifreq
NUMERIC = socket.AI_NUMERICHOST
DISCARD = 9  # a port that is never sent to
# Addresses that no machine has (RFC 5737, RFC 3849): the way to them is the way out of this machine.
OUTSIDE = ((socket.AF_INET, ("192.0.2.1", DISCARD)), (socket.AF_INET6, ("2001:db8::1", DISCARD)))


class Route(NamedTuple):
    """The way to an address."""

    interface: str
    address: str
    """Of this machine, as the other one sees it."""
    guessed: bool = False
    """Whether it is only the way out of this machine, which the others probably use."""


def towards(address: str) -> Route | None:
    """Return the way to ``address``, looking its name up if it is one; None if there is no known way."""
    try:
        found = socket.getaddrinfo(address, DISCARD, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):  # the latter for a name that isn't valid
        return None
    return among(address, found)


def among(address: str, found: Iterable[Any]) -> Route | None:
    """Return the way to ``address``, for which `socket.getaddrinfo` has ``found`` these.

    A name may stand for this machine's loopback, as a machine's own name does on Debian. That doesn't show the way
    that other machines use, which is then guessed.
    """
    ways = [_way(family, where) for family, _kind, _protocol, _name, where in found]
    known = [way for way in ways if way and (not _loopback(way.address) or address in (way.address, "localhost"))]
    if not known and any(ways):
        out = [_way(family, where) for family, where in OUTSIDE]
        known = [way._replace(guessed=True) for way in out if way and not _loopback(way.address)]
    return known[0] if known else None


def named(way: Route | None, environ: Mapping[str, str], *, cpu: bool) -> dict[str, str]:
    """Return the variables that make gloo and NCCL use the interface of ``way``; none if the user has set one.

    A guessed way is set for gloo alone, which would take the loopback; NCCL chooses well by itself.
    """
    if way is None or any(environ.get(name) for name in VARIABLES):
        return {}
    alone = cpu or way.guessed
    return {name: text.format(way.interface) for name, text in VARIABLES.items() if not (alone and name[0] == "N")}


def numeric(address: str) -> bool:
    """Return whether it is a numeric address of IPv4 or IPv6, which needs no lookup."""
    try:
        return bool(socket.getaddrinfo(address, DISCARD, type=socket.SOCK_DGRAM, flags=NUMERIC))
    except (OSError, UnicodeError):
        return False


def elsewhere(address: str) -> bool:
    """Return whether it is a numeric address that isn't this machine's."""
    if not numeric(address):
        return False
    family, kind, protocol, _name, where = socket.getaddrinfo(address, 0, type=socket.SOCK_DGRAM, flags=NUMERIC)[0]
    try:
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(where)
    except OSError as error:
        return error.errno == errno.EADDRNOTAVAIL
    return False


def _way(family: int, where: Any) -> Route | None:
    """Return the way to a socket's address."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(where)
            own = str(probe.getsockname()[0]).partition("%")[0]
    except OSError:
        return None
    interface = interfaces().get(own)
    return None if interface is None else Route(interface, own)


def _loopback(address: str) -> bool:
    return address == "::1" or address.startswith("127.")


def interfaces() -> dict[str, str]:
    """Return the name of each address's interface."""
    return {**_version_6(), **_version_4()}


def _version_4() -> dict[str, str]:
    import fcntl

    room = array.array("B", bytes(ENTRY * 1024))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        filled = fcntl.ioctl(probe, SIOCGIFCONF, struct.pack("iP", len(room), room.buffer_info()[0]))
    size: int = struct.unpack("iP", filled)[0]
    entries = [room[place : place + ENTRY].tobytes() for place in range(0, size, ENTRY)]
    # An alias (eth0:1) is an address of eth0.
    return {socket.inet_ntoa(e[20:24]): e[:16].partition(b"\0")[0].decode().partition(":")[0] for e in entries}


def _version_6() -> dict[str, str]:
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as file:
            lines = [line.split() for line in file]
    except OSError:
        return {}
    return {socket.inet_ntop(socket.AF_INET6, bytes.fromhex(words[0])): words[5] for words in lines if len(words) > 5}  # noqa: PLR2004
