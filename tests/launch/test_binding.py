"""Ranks are bound to the CPUs near their devices, or to a share: on made-up machines, and on this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from accel_config import AccelError
from accel_launch import Plan, plan
from accel_launch.engines.common.wrapping import PARENT
from accel_launch.machine.devices import Device
from accel_launch.machine.host import Host
from accel_launch.machine.topology import Topology
from accel_launch.planning import explain
from accel_launch.running.guardian.preloading.likeness import digest
from tests.conftest import Resolve
from tests.launch.hosts import Programs, Still, host
from tests.launch.test_engine_mpi import KINDS, on_path
from tests.launch.test_schedulers import recorded, settings_of

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
    "CPU ranks": (
        TWO,
        (),
        {},
        "--cpu --num_processes 4 --bind cores",
        ["0-1,8-9", "2-3,10-11", "4-5,12-13", "6-7,14-15"],
        [2] * 4,
    ),
    "CPU ranks, numa": (
        TWO,
        (),
        {},
        "--cpu --num_processes 3 --bind numa",
        ["0-3,8-11", "0-15", "4-7,12-15"],
        [2, 3, 3],
    ),
    "one CPU rank has all": (TWO, (), {}, "--cpu --bind numa", ["0-15"], [8]),
    "an uneven cpuset": (
        TWO,
        (),
        {"allowed": "3,5-7"},
        "--cpu --num_processes 2 --bind cores",
        ["3,5", "6-7"],
        [2, 2],
    ),
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
def test_each_rank_has_the_cpus_near_its_device_or_its_share(
    made: Made, planned: Callable[..., Plan], case: str
) -> None:
    nodes, on, facts, flags, cpus, threads = CASES[case]
    todo = planned(made(nodes, on, **facts), flags)
    assert [command.cpus for command in todo.commands] == cpus == [*todo.cpus]
    assert [int(command.env["OMP_NUM_THREADS"]) for command in todo.commands] == threads


def test_what_a_rank_can_not_have_is_noted(made: Made, planned: Callable[..., Plan], tmp_path: Path) -> None:
    few = planned(made(TWO, EIGHT, allowed="0-3,4"), "--bind cores")
    note = "too few cores near GPU 4 may be used (1 for 4 ranks), so the ranks share all cores evenly"
    assert f"bind cores (--bind): {note}" in few.notes
    assert "bind cores (--bind): some ranks share a core: 8 ranks have 5 cores" in few.notes
    on = made(TWO, (0, 1))
    write(tmp_path / "sys/bus/pci/devices/0000:01:00.0/numa_node", -1)
    unknown = planned(on, "--bind numa")
    note = "no core that may be used is known to be near GPU 1, so the ranks share all cores evenly"
    assert f"bind numa (--bind): {note}" in unknown.notes
    assert unknown.cpus == ("0-3,8-11", "4-7,12-15")
    fine = planned(made(TWO, EIGHT), "--bind cores --num_cpu_threads_per_process 7")
    assert not fine.notes or "bind" not in " ".join(fine.notes)
    assert {command.env["OMP_NUM_THREADS"] for command in fine.commands} == {"7"}
    assert "bind cores" in fine.summary


def test_the_plan_shows_the_cpus_and_its_script_binds_to_them(
    made: Made, settings: Resolve, planned: Callable[..., Plan]
) -> None:
    todo = planned(made(TWO, (0, 1)), "--bind cores")
    text = explain.shell(todo)
    assert "# local rank 1 on CPUs 4-7,12-15\n" in text
    assert " taskset -c 4-7,12-15 /py -u train.py &\n" in text
    assert json.loads(explain.as_json(todo, settings("--bind", "cores")))["cpus"] == ["0-3,8-11", "4-7,12-15"]
    assert digest(todo) != digest(todo.replace(commands=tuple(one.replace(cpus="") for one in todo.commands)))
    without = planned(made(TWO, (0, 1)), "")
    assert without.cpus == ()
    assert "taskset" not in explain.shell(without)
    assert "cpus" not in json.loads(explain.as_json(without, settings()))


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ("--bind 0-3/4-7/8", "bind 0-3/4-7/8 (--bind): expected a list for each local rank (2), got 3; a slash"),
        ("--bind 0-3/4-7,16", "bind 0-3/4-7,16 (--bind): this process may only use CPUs 0-15"),
        ("--bind 0-3/", r"--bind: bind must be one of numa, socket, cores, none, or a list of CPUs for each local rank"),
        ("--bind 3-1/4", "--bind: bind must be one of"),
        ("--bind cors", "not 'cors'. Did you mean 'cores'?"),
        (
            "--bind cores --enable_cpu_affinity",
            "bind cores (--bind) and enable_cpu_affinity true (--enable_cpu_affinity): the second means numa",
        ),
        (
            "--bind cores --engine mpi --mpirun_bind_to core",
            "bind cores (--bind): mpirun_bind_to core (--mpirun_bind_to) binds the ranks; leave out one of them",
        ),
        ("--bind cores --engine mpi --mpirun_hostfile hosts", "bind cores (--bind): the CPUs of the machines of mpirun_"),
        (
            "--bind cores --engine deepspeed --num_machines 2 --deepspeed_hostfile hosts --num_processes 4",
            "bind cores (--bind): the CPUs of the machines that DeepSpeed uses aren't known here",
        ),
    ],
)  # fmt: skip
def test_what_can_not_be_bound_is_refused(made: Made, planned: Callable[..., Plan], flags: str, why: str) -> None:
    on = made(TWO, (0, 1))
    Path(on.cwd, "hosts").write_text("node-1 slots=2\nnode-2 slots=2\n")
    with pytest.raises(AccelError) as refused:
        planned(on, flags)
    assert why in str(refused.value)


def test_only_linux_binds_and_only_the_wish_is_refused(made: Made, planned: Callable[..., Plan]) -> None:
    on = made(TWO, (0, 1))
    on = on.replace(probe=Still(topology=Topology((), on.cwd)))
    with pytest.raises(AccelError, match=r"bind cores \(--bind\): only Linux binds processes to CPUs; leave it out"):
        planned(on, "--bind cores")
    assert planned(on, "--bind none").cpus == planned(on, "--enable_cpu_affinity").cpus == ()


def test_the_stronger_of_bind_and_enable_cpu_affinity_decides(made: Made, planned: Callable[..., Plan]) -> None:
    on = made(TWO, EIGHT)
    near = tuple(TWO[node] for node in EIGHT)

    def told(flags: str, file: str | None = None) -> tuple[object, str | None]:
        todo = planned(on, flags, file=file)
        return todo.cpus, todo.commands[0].env.get("ACCELERATE_CPU_AFFINITY")

    assert told("", "enable_cpu_affinity: true") == (near, "1")
    assert told("--bind numa", "enable_cpu_affinity: true") == (near, "1")
    assert told("--bind none", "enable_cpu_affinity: true") == ((), None)
    assert told("--bind cores", "enable_cpu_affinity: true")[1] is None  # the script would bind itself again
    assert told("--enable_cpu_affinity", "bind: cores") == (near, "1")
    assert told("", "bind: numa") == (near, None)
    assert told("--engine mpi --mpirun_bind_to core", "enable_cpu_affinity: true") == ((), None)


ENGINES = {
    "mpi": ("--engine mpi", {}, "--bind-to none"),
    "slurm": ("--engine slurm", {"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "box"}, "srun"),
    "torchrun": ("--engine torchrun", {}, "--nproc-per-node=2"),
}


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_carries_the_cpus_to_the_parents_of_its_ranks(
    made: Made, planned: Callable[..., Plan], engine: str
) -> None:
    flags, environ, beside = ENGINES[engine]
    on = made(TWO, (0, 1), environ=environ)
    (command,) = planned(on, f"{flags} --bind cores").commands
    words = " ".join((*(f"{name}={text}" for name, text in command.env.items()), *command.argv))
    assert "ACCEL_BIND=0-3,8-11=4/4-7,12-15=4" in words
    assert beside in words
    (command,) = planned(on, flags).commands
    assert "ACCEL_BIND" not in " ".join((*command.env, *command.argv))
    if engine == "slurm":
        away = on.replace(environ={**environ, "SLURM_JOB_NODELIST": "n1"})
        with pytest.raises(AccelError, match="the CPUs of the job's machines aren't known here"):
            planned(away, f"{flags} --bind cores")


def test_a_rank_that_a_scheduler_started_keeps_to_what_that_gave_it(made: Made) -> None:
    environ = recorded("srun-two-on-each")
    local = int(environ["SLURM_LOCALID"])

    def bound(on: Host, flags: str) -> tuple[str, str]:
        todo = plan(settings_of(environ, *flags.split()), on, ["train.py"])
        (command,) = todo.commands
        assert int(command.env["OMP_NUM_THREADS"]) == threads
        return command.cpus, " ".join(note for note in todo.notes if "bind" in note)

    threads = 4
    assert bound(made(TWO, (0, 1), environ=environ), "--bind numa") == (TWO[local], "")
    given = made(TWO, (0, 1), environ=environ, allowed="3-5", cores=3)
    threads = 1  # of those that the scheduler has given, this device's are one or two
    assert bound(given, "--bind numa")[0] == ("3", "4-5")[local]
    assert bound(given, "--bind 3/4") == ("34"[local], "")
    why = "has no effect: the scheduler that started the ranks binds them (srun --cpu-bind, mpirun --bind-to)"
    assert bound(given, "--bind cores") == ("", f"bind cores (--bind) {why}")
    assert bound(given, "--cpu --bind numa") == ("", f"bind numa (--bind) {why}")
    threads = 4
    elsewhere = made(TWO, (1 - local, 1 - local), environ=environ, allowed=("0-3", "4-7")[local])
    assert bound(elsewhere, "--bind socket") == ("", f"bind socket (--bind) {why}")


# Real processes on this machine.
SCRIPT = """
import os, sys, threading, time
mine = []
thread = threading.Thread(target=lambda: mine.append(os.sched_getaffinity(0)))
thread.start()
thread.join()
attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
left = [name for name in os.environ if name == "ACCEL_BIND"]
told = [int(os.environ.get("RANK", "0")), sorted(mine[0]), os.environ["OMP_NUM_THREADS"], left]
os.write(1, f"{attempt} {told}\\n".encode())
if attempt == "0" and sys.argv[1:]:
    open(f"{sys.argv[1]}{told[0]}", "w").close()
    while not all(os.path.exists(f"{sys.argv[1]}{rank}") for rank in (0, 1)):
        time.sleep(0.01)
    sys.exit(3)
"""
WAYS = {
    "local": ("--num_processes", "2"),
    "exec": (),
    "supervised": ("--stall_after", "1m"),
    "preload": ("--num_processes", "2", "--preload", "colorsys"),
    "parked": ("--num_processes", "2", "--preload", "colorsys", "--max_restarts", "1", "--restart_policy", "always"),
}
SLOW = ("torchrun", *KINDS)
TORCHRUN = ("--num_processes", "2", "--engine", "torchrun")
MPI = ("--num_processes", "2", "--engine", "mpi")
here = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [0]


@pytest.mark.skipif(len(here) < 2, reason="one CPU can't be divided")
@pytest.mark.parametrize("way", [*WAYS, *(pytest.param(one, marks=pytest.mark.exhaustive) for one in SLOW)])
def test_every_thread_of_a_rank_is_bound_however_it_is_started(
    accelerate: Callable[..., Any], tmp_path: Path, environ: dict[str, str], way: str
) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    if way == "torchrun":
        pytest.importorskip("torch")
    words = WAYS.get(way, TORCHRUN if way == "torchrun" else MPI)
    two = "2" in words
    again = way == "parked"
    text = f"{here[1]}/{here[0]}" if two else str(here[1])
    report = tmp_path / "report.json"
    flags = ("-q", "--cpu", *words, "--bind", text, *(("--report", report) if two else ()))
    env = on_path(way, environ) if way in KINDS else {}
    done = accelerate("launch", *flags, script, *((tmp_path / "there",) if again else ()), env=env, timeout=120)
    ranks = [[rank, [here[1 - rank]], "1", []] for rank in range(1 + two)]
    expected = [f"{attempt} {rank}" for attempt in range(1 + again) for rank in ranks]
    assert sorted(done.stdout.splitlines()) == expected
    assert "bound" not in done.stderr
    assert "not preloaded" not in done.stderr
    assert done.returncode == 0
    if two:
        assert json.loads(report.read_text())["cpus"] == text.split("/")


def test_a_rank_whose_cpus_are_gone_runs_and_says_so(tmp_path: Path) -> None:
    """Its cpuset may have shrunk since the plan was made."""
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    environ = {**os.environ, "LOCAL_RANK": "1", "RANK": "1", "OMP_NUM_THREADS": "9"}
    for bind, cpus, threads, said in (
        (f"0/{here[0]}=2", [here[0]], "2", ""),
        (f"0/{here[0]}", [here[0]], "9", ""),
        ("0/65000=2", here, "2", "accel: note: a rank can't be bound to the CPUs 65000: Invalid argument\n"),
        ("", here, "9", ""),
    ):
        words = [sys.executable, "-I", "-S", PARENT, sys.executable, str(script)]
        told = {**environ, "ACCEL_BIND": bind}
        done = subprocess.run(words, env=told, capture_output=True, text=True, timeout=60, check=True)
        assert (done.stdout, done.stderr) == (f"0 {[1, cpus, threads, []]}\n", said)
