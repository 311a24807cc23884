"""What can't be the address of a machine."""

from __future__ import annotations

import pytest

from accel_config.checking.address import unreachable


@pytest.mark.parametrize(
    "text",
    [
        *("10.0.0.1", "127.1", "::1", "fd88::1", "fe8::1", "fec0::1", "::ffff:10.0.0.1"),
        *("node-1", "n_0", "node-1.cluster.local.", "123456789012", "größe.example", "a" * 63, "ü" * 40),
    ],
)
def test_what_may_be_one(text: str) -> None:
    assert unreachable(text) == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10.0.0.1:29500", "has a port; use 10.0.0.1, and set main_process_port to 29500"),
        ("node-1:29500", "has a port; use node-1, and set main_process_port to 29500"),
        ("29501", "is a number, not an address; a port is set as main_process_port"),
        ("1", "is a number"),
        ("[fd88::1]:29500", "has brackets"),
        ("tcp://node-1", "is a URL; use its host alone"),
        ("10.88.0.300", "isn't a valid IPv4 address"),
        ("10.0.0.1.", "isn't a valid IPv4 address"),
        ("fd88::zz", "isn't a valid IPv6 address"),
        ("node-1:http", "isn't a valid IPv6 address"),
        ("fe80::1%eth0", "is a link-local address"),
        ("fe80::1", "is a link-local address"),
        ("FEBF::1", "is a link-local address"),
        ("fd88::1%eth0", "is a link-local address"),
        ("fe80::zz%eth0", "isn't a valid IPv6 address"),
        ("10.0.0..1", "isn't a valid address or host name"),
        ("node 1", "isn't a valid address or host name"),
        ("node-1/24", "isn't a valid address or host name"),
        ("<node-1>", "isn't a valid address or host name"),
        ("$MASTER", "isn't a valid address or host name"),
        ("node-1!", "isn't a valid address or host name"),
        ("node-1;", "isn't a valid address or host name"),
        ("node-1,node-2", "isn't a valid address or host name"),
        ("a" * 64, "isn't a valid address or host name"),
        ("ü" * 60, "isn't a valid address or host name"),
        ("\udcff", "isn't a valid address or host name"),
        (".", "isn't a valid address or host name"),
    ],
)
def test_what_can_be_none(text: str, why: str) -> None:
    assert why in unreachable(text)
