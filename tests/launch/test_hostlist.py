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
        ("n[1:2,1,0]", "n2 n1 n0"),  # from here on Open MPI's
        ("gpu[2:1-3,12]-x,login", "gpu01-x gpu02-x gpu03-x gpu12-x login"),
        ("[2:10].88.0.2,[1:9].0.0.1", "10.88.0.2 9.0.0.1"),
        ("r[1:1-2]c[2:1]", "r1c01 r2c01"),
    ],
)
def test_a_list_expands(text: str, hosts: str) -> None:
    assert expand(text) == hosts.split()
