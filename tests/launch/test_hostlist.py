"""Slurm's short form of host lists."""

from __future__ import annotations

import pytest

from accel_launch.hostlist import expand


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a[01-03,7],b2-[1-2]x,c", "a01 a02 a03 a7 b2-1x b2-2x c"),  # as scontrol show hostnames has it
        ("n", "n"),
        ("", ""),
        ("n1,n2", "n1 n2"),
        ("n[9-11]", "n9 n10 n11"),
        ("n[099-101]", "n099 n100 n101"),
        ("r[1-2]c[1-2]", "r1c1 r1c2 r2c1 r2c2"),
        ("r[1,3]-x", "r1-x r3-x"),
        ("gpu-a-[5]", "gpu-a-5"),
        ("n[1-2].site.org, m", "n1.site.org n2.site.org m"),
    ],
)
def test_a_list_expands(text: str, hosts: str) -> None:
    assert expand(text) == hosts.split()
