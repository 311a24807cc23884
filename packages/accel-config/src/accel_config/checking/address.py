"""Texts that can't be the address of a machine. Whether a machine has the address, only a connection shows."""

from __future__ import annotations

import socket

LONGEST = 63  # letters between two dots of a name (RFC 1035)
PORT_DIGITS = 5  # a container may be called 123456789012
LINK = range(0xFE80, 0xFEC0)  # the first two bytes of an IPv6 address that is of one link only (RFC 4291)


def unreachable(text: str) -> str:
    """Return why ``text`` is neither an address nor a host name, and what to write; nothing if it may be one."""
    if "://" in text:
        return "is a URL; use its host alone"
    if text.startswith("["):
        return "has brackets; write the IPv6 address without them, and its port as main_process_port"
    if text.isdecimal() and len(text) <= PORT_DIGITS:
        return "is a number, not an address; a port is set as main_process_port"
    host, colon, port = text.rpartition(":")
    if colon and ":" not in host and port.isdecimal():
        return f"has a port; use {host}, and set main_process_port to {port}"
    if ":" in text:
        return _ipv6(text)
    labels = text.removesuffix(".").split(".")
    if labels[1:] and all(label.isdecimal() for label in labels):
        return "" if _number(text) else "isn't a valid IPv4 address; use four numbers from 0 to 255"
    if not all(map(_label, labels)):
        return "isn't a valid address or host name"
    return ""


def _ipv6(text: str) -> str:
    bare, interface, _ = text.partition("%")
    number = _number(bare)
    if not number:
        return "isn't a valid IPv6 address"
    # Torch's agent ignores the interface, and can't connect without one.
    if interface or int.from_bytes(number[:2]) in LINK:
        return "is a link-local address; use one that every machine can reach, or a name"
    return ""


def _label(text: str) -> bool:
    """Whether it may stand between two dots of a name, in letters of any language."""
    if not all(letter.isalnum() or letter in "-_" for letter in text):
        return False
    try:
        return 0 < len(text.encode("ascii" if text.isascii() else "idna")) <= LONGEST
    except UnicodeError:
        return False


def _number(text: str) -> bytes:
    """Return the address as name lookups read it, also ``10.1``; nothing if it isn't one."""
    try:
        return socket.inet_pton(socket.AF_INET6, text) if ":" in text else socket.inet_aton(text)
    except OSError:
        return b""
