"""What TCP connections have sent and received: the kernel tells it by socket diagnosis (netlink), not in /proc."""

from __future__ import annotations

import os
import socket
import struct

from accel_config.record import Record
from accel_launch.inspecting import kernel

NETLINK = 16  # AF_NETLINK, which other systems than Linux have no name for
DIAG, BOTH_FAMILIES, DONE, ERROR = 4, 18, 3, 2  # TCPDIAG_GETSOCK: one walk through the table for IPv4 and IPv6
REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
INFO = 2  # INET_DIAG_INFO
ESTABLISHED = 1 << 1
ANSWER, PORTS, FROM, TO, INODE = 72, 4, 8, 24, 68  # struct inet_diag_msg: its size, and where its parts are
MAPPED = bytes(10) + b"\xff\xff"  # an address of IPv4 as one of IPv6
ACKNOWLEDGED = 120  # tcpi_bytes_acked in tcp_info: bytes sent that have arrived; behind it tcpi_bytes_received
HEADER = 16
OCTETS = ("InOctets", "OutOctets", "Ip6InOctets", "Ip6OutOctets")


class Connection(Record):
    """One end of a TCP connection."""

    count: int
    """Bytes that it has sent and received."""
    here: tuple[bytes, int]
    """Its address and port."""
    there: tuple[bytes, int]
    """Those of the other end."""

    @property
    def ports(self) -> tuple[int, int]:
        """The ports of both ends."""
        return self.here[1], self.there[1]


def inodes(pid: int) -> set[int]:
    """Return the inodes of a process's sockets."""
    found: set[int] = set()
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return found
    for name in names:
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(int(target[8:-1]))
    return found


def octets() -> int:
    """Return the bytes of all packets that this network namespace has received and sent; -1 if that isn't told.

    While they stay the same, no connection needs to be looked at: to list them takes a hundred times as long.
    """
    lines = [
        line.split() for line in kernel.again("/proc/self/net/netstat").splitlines() if line.startswith("IpExt:")
    ]
    if len(lines) != 2:  # noqa: PLR2004
        return -1
    named = dict(zip(*lines, strict=False))
    named |= dict(line.split() for line in kernel.again("/proc/self/net/snmp6").splitlines())
    found = [int(named[name]) for name in OCTETS if name in named]
    return sum(found) if len(found) > 1 else -1


def connections() -> dict[int, Connection]:
    """Return the established TCP connections of this network namespace, by inode."""
    found: dict[int, Connection] = {}
    try:
        with socket.socket(NETLINK, socket.SOCK_RAW, DIAG) as asking:
            asking.settimeout(1.0)
            body = struct.pack("BBBB48xII", socket.AF_INET, 0, 0, 1 << (INFO - 1), ESTABLISHED, 0)
            asking.send(struct.pack("IHHII", HEADER + len(body), BOTH_FAMILIES, REQUEST_DUMP, 1, 0) + body)
            while _take(asking.recv(1 << 18), found):
                pass
    except (OSError, struct.error):
        pass  # a kernel without it, or a sandbox that refuses it
    return found


def _take(answer: bytes, found: dict[int, Connection]) -> bool:
    """Read the messages of an answer; return whether more follow."""
    at = 0
    while at + HEADER <= len(answer):
        size, kind = struct.unpack_from("IH", answer, at)
        if kind in (DONE, ERROR) or size < HEADER:
            return False
        body = answer[at + HEADER : at + size]
        attribute = ANSWER
        while attribute + 4 <= len(body):
            length, name = struct.unpack_from("HH", body, attribute)
            if name == INFO and length >= 4 + ACKNOWLEDGED + 16:
                (inode,) = struct.unpack_from("I", body, INODE)
                count = sum(struct.unpack_from("QQ", body, attribute + 4 + ACKNOWLEDGED))
                here, there = struct.unpack_from("!HH", body, PORTS)
                found[inode] = Connection(count, (_address(body, FROM), here), (_address(body, TO), there))
            attribute += max((length + 3) & ~3, 4)
        at += (size + 3) & ~3
    return at > 0


def _address(body: bytes, at: int) -> bytes:
    """Return an address so that it is the same for a socket of either family."""
    found = body[at : at + 16]
    return found[12:] + bytes(12) if found.startswith(MAPPED) else found
