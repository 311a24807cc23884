"""What can't be the address of a machine."""

from __future__ import annotations

import pytest

from accel_config.address import unreachable


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
        ("10.0.0.1:29500", "has a port: give 10.0.0.1, and main_process_port 29500"),
        ("node-1:29500", "has a port: give node-1, and main_process_port 29500"),
        ("[fd88::1]:29500", "has brackets"),
        ("tcp://node-1", "is a URL: give the host alone"),
        ("10.88.0.300", "is no IPv4 address"),
        ("10.0.0.1.", "is no IPv4 address"),
        ("fd88::zz", "is no IPv6 address"),
        ("node-1:http", "is no IPv6 address"),
        ("fe80::1%eth0", "is an address on one link only"),
        ("fe80::1", "is an address on one link only"),
        ("FEBF::1", "is an address on one link only"),
        ("fd88::1%eth0", "is an address on one link only"),
        ("fe80::zz%eth0", "is no IPv6 address"),
        ("10.0.0..1", "can't be a host's name"),
        ("node 1", "can't be a host's name"),
        ("node-1/24", "can't be a host's name"),
        ("<node-1>", "can't be a host's name"),
        ("$MASTER", "can't be a host's name"),
        ("node-1!", "can't be a host's name"),
        ("node-1;", "can't be a host's name"),
        ("node-1,node-2", "can't be a host's name"),
        ("a" * 64, "can't be a host's name"),
        ("ü" * 60, "can't be a host's name"),
        ("\udcff", "can't be a host's name"),
        (".", "can't be a host's name"),
    ],
)
def test_what_can_be_none(text: str, why: str) -> None:
    assert why in unreachable(text)
