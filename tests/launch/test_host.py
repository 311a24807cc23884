"""Questions to the real machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from accel_launch.machine import cgroup, host
from accel_launch.machine.host import Host
from accel_launch.machine.probe import Probe

FAMILIES = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


def test_what_a_program_says() -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    assert Probe().programs.output(sys.executable, "-c", code) == "out\nerr\n"
    assert Probe().programs.output("/nowhere/mpirun", "--version") == ""


def test_the_version_of_a_distribution() -> None:
    assert Probe().packages.version("pytest") == pytest.__version__
    assert Probe().packages.version("no-such-distribution") is None


def test_whether_we_are_root() -> None:
    assert Probe().programs.as_root() == (os.getuid() == 0)


def test_a_module_is_looked_for_without_importing_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "looked_for.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert Probe().packages.has("looked_for")
    assert not Probe().packages.has("not_looked_for")


@pytest.mark.parametrize(("family", "address"), FAMILIES)
def test_a_free_port_is_kept_from_others_but_can_be_listened_on(family: int, address: str) -> None:
    machine = Probe()
    port = machine.ports.free()
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
        assert Probe().ports.busy(port)
    assert not Probe().ports.busy(port)


def test_cores_are_those_of_our_affinity() -> None:
    code = "import os; from accel_launch.machine.host import Host; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); print(Host.here().cores)"
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
    monkeypatch.setattr(host, "read", read)
    assert Host.here().cores == cores
