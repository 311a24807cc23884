"""TCP connections of this machine, from the tables of Linux. On other systems there are none."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress

from accel_config.record import Record
from accel_launch.machine.files import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

CONNECTED, LISTENING = "01", "0A"  # states in /proc/net/tcp
TABLES = ((socket.AF_INET, "/proc/net/tcp"), (socket.AF_INET6, "/proc/net/tcp6"))


class Connection(Record):
    """One line of the kernel's tables."""

    port: int
    peer: str
    """The address of the other end."""
    state: str
    inode: str


def listening(pid: int) -> frozenset[int]:
    """Return the ports on which a process listens; none if we may not look at it."""
    own = set(_open(f"/proc/{pid}/fd"))
    return frozenset(
        line.port for line in _connections() if line.state == LISTENING and f"socket:[{line.inode}]" in own
    )


def callers(ports: Collection[int]) -> tuple[str, ...]:
    """Return the addresses that are connected to one of ``ports`` of this machine."""
    return tuple(
        dict.fromkeys(line.peer for line in _connections() if line.state == CONNECTED and line.port in ports)
    )


def _open(folder: str) -> Iterator[str]:
    """Yield what a process has open. Files that it closes meanwhile are left out."""
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):
                yield os.readlink(os.path.join(folder, name))


def _connections() -> Iterator[Connection]:
    for family, path in TABLES:
        for line in read(path).splitlines()[1:]:
            _number, own, peer, state, *rest = line.split()
            yield Connection(
                int(own.rpartition(":")[2], 16), _address(family, peer.rpartition(":")[0]), state, rest[5]
            )


def _address(family: int, digits: str) -> str:
    """Return an address. The kernel writes it as words of 32 bits, each in the machine's byte order."""
    words = (int(digits[at : at + 8], 16) for at in range(0, len(digits), 8))
    text = socket.inet_ntop(family, b"".join(word.to_bytes(4, sys.byteorder) for word in words))
    return text.removeprefix("::ffff:") if "." in text else text
