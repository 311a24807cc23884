"""Questions to the real machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from accel_launch import cgroup, devices
from accel_launch.host import Host, Machine

FAMILIES = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


def test_what_a_program_says() -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    assert Machine().says(sys.executable, "-c", code) == "out\nerr\n"
    assert Machine().says("/nowhere/mpirun", "--version") == ""


def test_the_version_of_a_distribution() -> None:
    assert Machine().version("pytest") == pytest.__version__
    assert Machine().version("no-such-distribution") is None


def test_whether_we_are_root() -> None:
    assert Machine().root() == (os.getuid() == 0)


def test_a_module_is_looked_for_without_importing_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "looked_for.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert Machine().module("looked_for")
    assert not Machine().module("not_looked_for")


@pytest.mark.parametrize(("family", "address"), FAMILIES)
def test_a_free_port_is_kept_from_others_but_can_be_listened_on(family: int, address: str) -> None:
    machine = Machine()
    port = machine.free_port()
    with socket.socket(family) as other, pytest.raises(OSError, match="Address already in use"):
        other.bind((address, port))
    with socket.socket(family) as rank, socket.socket(family) as peer:
        rank.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        rank.bind((address, port))
        rank.listen()
        peer.connect((address, port))


def test_a_port_is_busy_while_somebody_listens() -> None:
    with socket.socket() as listener:
        listener.bind(("", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert Machine().busy(port)
    assert not Machine().busy(port)


def test_cores_are_those_of_our_affinity() -> None:
    code = "import os; from accel_launch.host import Host; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); print(Host.here().cores)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, timeout=30) == "1\n"


@pytest.mark.parametrize(("quota", "cores"), [(None, 3), (2.5, 2), (0.5, 1), (64.0, 3)])
def test_cores_are_physical_and_within_the_quota(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int
) -> None:
    def read(path: str, *_more: str) -> str:
        return siblings.get(path, "")

    def affinity(_pid: int) -> set[int]:
        return set(range(6))

    monkeypatch.setattr(os, "sched_getaffinity", affinity)
    monkeypatch.setattr(cgroup, "cpus", lambda: quota)
    siblings = {
        f"/sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": f"{n % 3},{n % 3 + 3}" for n in range(6)
    }
    monkeypatch.setattr(devices, "read", read)
    assert Host.here().cores == cores
