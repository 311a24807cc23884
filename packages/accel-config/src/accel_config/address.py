"""What can't be the address of a machine. Whether there is such a machine, only dialling tells."""

from __future__ import annotations

import socket

LONGEST = 63  # letters between two dots of a name (RFC 1035)
LINK = range(0xFE80, 0xFEC0)  # the first two bytes of an IPv6 address that is of one link only (RFC 4291)


def unreachable(text: str) -> str:
    """Return why ``text`` is neither an address nor a host's name, and what to write; nothing if it may be one."""
    if "://" in text:
        return "is a URL: give the host alone"
    if text.startswith("["):
        return "has brackets: an IPv6 address is given without, and its port as main_process_port"
    host, colon, port = text.rpartition(":")
    if colon and ":" not in host and port.isdecimal():
        return f"has a port: give {host}, and main_process_port {port}"
    if ":" in text:
        return _ipv6(text)
    labels = text.removesuffix(".").split(".")
    if labels[1:] and all(label.isdecimal() for label in labels):  # a container may be called 123456789012
        return "" if _number(text) else "is no IPv4 address: give four numbers up to 255"
    if not all(map(_label, labels)):
        return "is no address and can't be a host's name"
    return ""


def _ipv6(text: str) -> str:
    bare, interface, _ = text.partition("%")
    number = _number(bare)
    if not number:
        return "is no IPv6 address"
    # Torch's agent reads no interface, and without one it can't be dialled.
    if interface or int.from_bytes(number[:2]) in LINK:
        return "is an address on one link only: give one that leads there from every machine, or a name"
    return ""


def _label(text: str) -> bool:
    """Whether it may stand between two dots of a name, which may be in letters of any language."""
    if not all(letter.isalnum() or letter in "-_" for letter in text):
        return False
    try:
        return 0 < len(text.encode("ascii" if text.isascii() else "idna")) <= LONGEST
    except UnicodeError:
        return False


def _number(text: str) -> bytes:
    """Return the address as look-ups read it, ``10.1`` and all; nothing if it is none."""
    try:
        return socket.inet_pton(socket.AF_INET6, text) if ":" in text else socket.inet_aton(text)
    except OSError:
        return b""
