"""TCP on this machine, as the kernel lists it: who is connected to what listens here. Other systems tell nothing."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from typing import NamedTuple

from . import devices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

CONNECTED, LISTENING = "01", "0A"  # of /proc/net/tcp
TABLES = ((socket.AF_INET, "/proc/net/tcp"), (socket.AF_INET6, "/proc/net/tcp6"))


class Socket(NamedTuple):
    """A line of the kernel's tables."""

    port: int
    peer: str
    """The other's address."""
    state: str
    inode: str


def listening(pid: int) -> frozenset[int]:
    """Return the ports on which a process listens; none where it isn't ours to look at."""
    own = set(_open(f"/proc/{pid}/fd"))
    return frozenset(one.port for one in _sockets() if one.state == LISTENING and f"socket:[{one.inode}]" in own)


def callers(ports: Collection[int]) -> tuple[str, ...]:
    """Return the addresses that are connected to one of ``ports`` of this machine."""
    return tuple(dict.fromkeys(one.peer for one in _sockets() if one.state == CONNECTED and one.port in ports))


def _open(folder: str) -> Iterator[str]:
    """Yield what a process has open, as far as it is still there."""
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):
                yield os.readlink(os.path.join(folder, name))


def _sockets() -> Iterator[Socket]:
    for family, path in TABLES:
        for line in devices.read(path).splitlines()[1:]:
            _number, own, peer, state, *rest = line.split()
            yield Socket(int(own.rpartition(":")[2], 16), _address(family, peer.rpartition(":")[0]), state, rest[5])


def _address(family: int, digits: str) -> str:
    """Return an address that the kernel writes as words of 32 bits, each in the machine's own order of bytes."""
    words = (int(digits[at : at + 8], 16) for at in range(0, len(digits), 8))
    text = socket.inet_ntop(family, b"".join(word.to_bytes(4, sys.byteorder) for word in words))
    return text.removeprefix("::ffff:") if "." in text else text
