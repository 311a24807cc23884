"""Ranks are bound to the CPUs near their devices, or to a share: on made-up machines, and on this one."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from accel_config import AccelError
from accel_launch import Plan, plan
from accel_launch.machine.devices import Device
from accel_launch.machine.host import Host
from accel_launch.machine.topology import Topology
from accel_launch.planning import explain
from tests.conftest import ROOT, Resolve
from tests.launch.hosts import Programs, Still, host

Made = Callable[..., Host]
TWO = {0: "0-3,8-11", 1: "4-7,12-15"}
"""The CPUs of each node of a machine with two sockets of four cores, each core with two threads: 0 and 8, 1 and 9."""
EIGHT = (0, 0, 0, 0, 1, 1, 1, 1)
"""The node of each of its eight devices."""


def listed(text: str) -> set[int]:
    spans = [part.partition("-") for part in text.split(",")]
    return {cpu for low, _, high in spans for cpu in range(int(low), int(high or low) + 1)}


def write(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A machine as the kernel shows it: nodes with their CPUs, the threads of cores, devices on nodes."""

    def make(
        nodes: dict[int, str],
        on: Iterable[int] = (),
        *,
        allowed: str = "",
        online: str = "",
        apart: int = 8,
        sockets: dict[int, int] | None = None,
        **facts: object,
    ) -> Host:
        (tmp_path / "train.py").touch()
        system = tmp_path / "sys/devices/system"
        every = {cpu: node for node, text in nodes.items() for cpu in listed(text)}
        up = listed(online) if online else set(every)
        write(system / "cpu/online", ",".join(map(str, sorted(up))))
        for node, text in nodes.items():
            write(system / f"node/node{node}/cpulist", ",".join(map(str, sorted(listed(text) & up))))
        for cpu, node in every.items():
            folder = system / f"cpu/cpu{cpu}/topology"
            threads = {cpu % apart, cpu % apart + apart} & up & set(every)
            write(folder / "thread_siblings_list", ",".join(map(str, sorted(threads))))
            write(folder / "physical_package_id", (sockets or {}).get(node, node))
        found: list[Device] = []
        for place, node in enumerate(on):
            device = tmp_path / f"sys/bus/pci/devices/0000:{place:02x}:00.0"
            write(device / "numa_node", node)
            write(device / "local_cpulist", nodes.get(node, "0-15"))
            found.append(Device("GPU", str(place), pci=device.name))
        topology = Topology(listed(allowed) if allowed else every, str(tmp_path))
        still = Still(topology=topology, programs=Programs(("mpirun", "srun"), version="(Open MPI) 5.0"))
        facts = {"cores": 8, **facts}
        return host(tuple(found), probe=still, **facts).replace(cwd=str(tmp_path))  # pyright: ignore[reportArgumentType]

    return make


@pytest.fixture
def planned(settings: Resolve) -> Callable[..., Plan]:
    def make(on: Host, flags: str, *, file: str | None = None) -> Plan:
        return plan(settings(*flags.split(), file=file), on, ["train.py"])

    return make


def test_the_kernels_files_say_which_cpus_are_one_core_and_where_it_is(made: Made, tmp_path: Path) -> None:
    topology = made(TWO, EIGHT, allowed="1-2,9,12,14-15", online="0-11,14-15").probe.topology()
    assert [(sorted(core.cpus), core.node, core.socket) for core in topology.cores] == [
        ([1, 9], 0, 0),
        ([2], 0, 0),  # its other thread may not be used
        ([14], 1, 1),  # of another core, 12 is offline
        ([15], 1, 1),
    ]
    assert topology.near("0000:04:00.0") == listed(TWO[1])
    assert topology.near("0000:0a:00.0") == topology.near("") == set()
    write(tmp_path / "sys/bus/pci/devices/0000:04:00.0/numa_node", -1)
    assert topology.near("0000:04:00.0") == set()
    bare = Topology(range(3), str(tmp_path / "nothing"))  # a kernel that shows nothing
    assert [core.cpus for core in bare.cores] == [{0}, {1}, {2}]


# The machine, the flags, and then the CPUs and the threads of each rank.
CASES = {
    "numa": (TWO, EIGHT, {}, "--bind numa", ["0-3,8-11"] * 4 + ["4-7,12-15"] * 4, [1] * 8),
    "cores": (TWO, EIGHT, {}, "--bind cores", [f"{n},{n + 8}" for n in range(8)], [1] * 8),
    "the devices of gpu_ids": (
        *(TWO, EIGHT, {}, "--bind cores --gpu_ids 1,6,7"),
        ["0-3,8-11", "4-5,12-13", "6-7,14-15"],
        [4, 2, 2],
    ),
    "sockets of two nodes": (
        {0: "0-1,8-9", 1: "2-3,10-11", 2: "4-5,12-13", 3: "6-7,14-15"},
        (1, 3),
        {"sockets": {0: 0, 1: 0, 2: 1, 3: 1}},
        "--bind socket",
        ["0-3,8-11", "4-7,12-15"],
        [2, 2],
    ),
    "one node": ({0: "0-15"}, (0, 0), {}, "--bind numa", ["0-15"] * 2, [4, 4]),
    "one node, cores": ({0: "0-15"}, (-1, -1), {}, "--bind cores", ["0-3,8-11", "4-7,12-15"], [4, 4]),
    "CPU ranks": (TWO, (), {}, "--cpu --num_processes 4 --bind cores", ["0-1,8-9", "2-3,10-11", "4-5,12-13", "6-7,14-15"], [2] * 4),
    "CPU ranks, numa": (TWO, (), {}, "--cpu --num_processes 3 --bind numa", ["0-3,8-11", "0-15", "4-7,12-15"], [2, 3, 3]),
    "one CPU rank has all": (TWO, (), {}, "--cpu --bind numa", ["0-15"], [8]),
    "an uneven cpuset": (TWO, (), {"allowed": "3,5-7"}, "--cpu --num_processes 2 --bind cores", ["3,5", "6-7"], [2, 2]),
    "a cpuset without some of the nodes": (TWO, EIGHT, {"allowed": "4-7"}, "--bind cores", list("44556677"), [1] * 8),
    "too few cores near some": (
        *(TWO, (0, 0, 1), {"allowed": "0,8,4-7,12-15"}, "--bind cores"),
        ["0,8", "4-5,12-13", "6-7,14-15"],
        [1, 2, 2],
    ),
    "offline CPUs": (TWO, (0, 1), {"online": "0-3,4-5"}, "--bind cores", ["0-3", "4-5"], [4, 2]),
    "a quota": (TWO, (0, 1), {"cores": 4}, "--bind numa", ["0-3,8-11", "4-7,12-15"], [2, 2]),
    "a list": (TWO, (0, 1), {}, "--bind 8,0-2/7,15", ["0-2,8", "7,15"], [3, 1]),
}


@pytest.mark.parametrize("case", CASES)
def test_each_rank_has_the_cpus_near_its_device_or_its_share(made: Made, planned: Callable[..., Plan], case: str) -> None:
    nodes, on, facts, flags, cpus, threads = CASES[case]
    todo = planned(made(nodes, on, **facts), flags)
    assert [command.cpus for command in todo.commands] == cpus == [*todo.cpus]
    assert [int(command.env["OMP_NUM_THREADS"]) for command in todo.commands] == threads
