"""`--check_network` and `accelerate test --hosts` between machines made of network namespaces."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.launch.machines import Network, ip
from tests.launch.processes import Script
from tests.launch.user import User, without_torch

pytestmark = [pytest.mark.machines, pytest.mark.timeout(400)]


def small_window(network: Network, n: int, sizes: str) -> None:
    """Let machine ``n`` take so little at once that it receives slowly."""
    inside = ["ip", "netns", "exec", network.space(n), "sh", "-c"]
    subprocess.run([*inside, f"echo '{sizes}' > /proc/sys/net/ipv4/tcp_rmem"], check=True)


def test_links_are_tried_before_any_rank_starts(user: User, script: Script, network: Network) -> None:
    hosts = ("--hosts", "n[0-2]", "--nproc_per_node", 1, *without_torch(user.folder))
    words = (*hosts, "--check_network", "--report", "report.json", script("print('up')\n"))
    small_window(network, 1, "2304 2304 2304")
    try:
        assert user.run(*words) == 0, user.err
    finally:
        small_window(network, 1, "4096 131072 6291456")
    assert user.out.count("up") == 3
    table = [line.split() for line in user.err.splitlines() if line.startswith("  n")]
    assert [row[:3] for row in table] == [[f"n{n}", network.address(n), "(eth0)"] for n in range(3)]
    assert "accel: note: n1 receives " in user.err
    assert "n0 receives" not in user.err
    assert "n2 receives" not in user.err
    links = json.loads((user.folder / "report.json").read_text())["network"]
    assert sorted((one["from"], one["to"]) for one in links) == [
        (f"n{one}", f"n{other}") for one in range(3) for other in range(3) if one != other
    ]
    assert all(one["bits_per_s"] > 0 and 0 < one["round_trip_s"] < 1 and one["interface"] == "eth0" for one in links)

    ip("-n", network.space(2), "route", "add", "blackhole", f"{network.address(1)}/32")
    try:
        assert user.run(*words) == 2
    finally:
        ip("-n", network.space(2), "route", "del", "blackhole", f"{network.address(1)}/32")
    assert user.out == ""
    assert f"n1 can't connect with n2 at {network.address(2)} (timed out)" in user.err
    assert f"n2 can't connect with n1 at {network.address(1)} (" in user.err
    assert "let all ports through between the machines" in user.err

    user.command = "test"  # its ranks find that this torch is none
    assert user.run("--hosts", "n[1-2]", "--nproc_per_node", 1, *hosts[4:], "--json") == 1
    found = json.loads(user.out)
    assert found["status"] == 1
    assert [(one["from"], one["to"]) for one in found["network"]] == [("n1", "n2"), ("n2", "n1")]
    (row,) = found["checks"]
    assert (row["name"], row["state"]) == ("torch", "failed")
    assert row["bad"].keys() <= {"0", "1"}  # the first one may end the other
    assert "the links of each machine" in user.err
    assert user.nothing_left()
