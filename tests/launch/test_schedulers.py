"""Schedulers: recorded environments, and the settings that are taken from each."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from accel_config import CATALOGUE, AccelError, Settings, split
from accel_launch import Host, Plan, plan
from accel_launch.machine.devices import Device
from accel_launch.machine.probe import Probe, loaded
from accel_launch.ranks import pmix
from accel_launch.ranks.signals import sent_to_all
from accel_launch.schedulers import READERS, read, settle
from accel_launch.schedulers.mpi import families, orte
from accel_launch.schedulers.mpi import tasks as mpi
from accel_launch.schedulers.placement import port
from tests.launch.hosts import Ancestors, Mpi, Network, Still, host

RECORDED = Path(__file__).parent / "environments"
MANAGER = 4242


class Manager(Ancestors):
    """Ancestors among which the process manager has this pid."""

    def nearest(self, name: str) -> int:
        assert name in {"hydra_pmi_proxy", "mpispawn"}
        return MANAGER


class Managed(Still):
    """A rank of an mpirun."""

    def __init__(self, network: Network | None = None, mpi: Mpi | None = None) -> None:
        super().__init__(ancestors=Manager(), network=network, mpi=mpi)


def recorded(name: str) -> dict[str, str]:
    """An environment that a real Slurm 24.11, Open MPI 4.1 or 5.0, MPICH 5.0 or Intel MPI 2021 made."""
    lines = (RECORDED / f"{name}.env").read_text().splitlines()
    return {line.partition("=")[0]: line.partition("=")[2] for line in lines}


def taken(environ: Mapping[str, str]) -> dict[str, str]:
    """What is taken, as text: ``{"num_machines": "2 (SLURM_STEP_NUM_NODES)"}``."""
    return {name: f"{value.value} ({value.origin})" for name, value in read(environ, Managed()).values.items()}


def settings_of(environ: Mapping[str, str], *flags: str, file: Path | None = None, text: str = "") -> Settings:
    words = list(flags)
    if file is not None:
        file.write_text(text)
        words = ["--config_file", str(file), *words]
    return settle(split(CATALOGUE, words), {"HF_HOME": "/nowhere", **environ}, Managed())


def planned(environ: Mapping[str, str], *flags: str, on: Host | None = None) -> Plan:
    on = (on or host()).replace(environ=environ, probe=Managed(), cwd=str(RECORDED.parent))
    return plan(settings_of(environ, *flags), on, ["conftest.py", "x"])


ONE_MACHINE = {"num_machines": "1 (SLURM_STEP_NUM_NODES)", "machine_rank": "0 (SLURM_NODEID)"}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("salloc", {}),
        ("salloc-interactive", ONE_MACHINE),
        ("sbatch", {}),
        ("sbatch-array", {}),
        ("sbatch-from-a-step", {}),  # whose step's variables it inherits
        ("srun-one-node", ONE_MACHINE),
        ("salloc-het", {}),
        ("sbatch-het", {}),
        (
            "srun-het",  # the second component of a heterogeneous job
            {
                "num_machines": "2 (SLURM_STEP_NUM_NODES)",
                "machine_rank": "1 (SLURM_NODEID)",
                "run_id": "slurm-1.0 (SLURM_JOB_ID)",
                "main_process_ip": "n1 (SLURM_STEP_NODELIST)",
                "main_process_port": f"{port(1)} (SLURM_JOB_ID)",
            },
        ),
        (
            "sbatch-srun",
            {
                "num_machines": "2 (SLURM_STEP_NUM_NODES)",
                "machine_rank": "1 (SLURM_NODEID)",
                "run_id": "slurm-7.0 (SLURM_JOB_ID)",
                "main_process_ip": "n1 (SLURM_STEP_NODELIST)",
                "main_process_port": f"{port(7)} (SLURM_JOB_ID)",
            },
        ),
        (
            "srun-pmi2",  # Slurm speaks PMI here as well
            {
                "num_machines": "2 (SLURM_STEP_NUM_NODES)",
                "machine_rank": "1 (SLURM_NODEID)",
                "run_id": "slurm-6.0 (SLURM_JOB_ID)",
                "main_process_ip": "n1 (SLURM_STEP_NODELIST)",
                "main_process_port": f"{port(6)} (SLURM_JOB_ID)",
            },
        ),
        (
            "srun-uneven",
            {
                "num_machines": "2 (SLURM_STEP_NUM_NODES)",
                "machine_rank": "1 (SLURM_NODEID)",
                "num_processes": "3 (SLURM_STEP_NUM_TASKS)",
                "nproc_per_node": "1 (SLURM_STEP_TASKS_PER_NODE)",
                "engine": "exec (SLURM_STEP_TASKS_PER_NODE)",
                "main_process_ip": "n1 (SLURM_STEP_NODELIST)",
                "main_process_port": f"{port(5)} (SLURM_JOB_ID)",
            },
        ),
        (
            "srun-two-on-one-node",
            {
                "num_machines": "1 (SLURM_STEP_NUM_NODES)",
                "machine_rank": "0 (SLURM_NODEID)",
                "num_processes": "2 (SLURM_STEP_NUM_TASKS)",
                "nproc_per_node": "2 (SLURM_STEP_TASKS_PER_NODE)",
                "engine": "exec (SLURM_STEP_TASKS_PER_NODE)",
                "main_process_ip": "127.0.0.1 (SLURM_STEP_NODELIST)",
                "main_process_port": f"{port(6)} (SLURM_JOB_ID)",
            },
        ),
        (
            "openmpi-1",
            {
                "num_processes": "2 (OMPI_COMM_WORLD_SIZE)",
                "nproc_per_node": "2 (OMPI_COMM_WORLD_LOCAL_SIZE)",
                "engine": "exec (OMPI_COMM_WORLD_LOCAL_SIZE)",
                "num_machines": "1 (OMPI_COMM_WORLD_LOCAL_SIZE)",
                "main_process_ip": "127.0.0.1 (OMPI_COMM_WORLD_LOCAL_SIZE)",
                "main_process_port": "25578 (PMIX_NAMESPACE)",
            },
        ),
        (
            "mpich",
            {
                "num_processes": "2 (PMI_SIZE)",
                "nproc_per_node": "2 (MPI_LOCALNRANKS)",
                "engine": "exec (MPI_LOCALNRANKS)",
                "num_machines": "1 (MPI_LOCALNRANKS)",
                "main_process_ip": "127.0.0.1 (MPI_LOCALNRANKS)",
                "main_process_port": f"{port(MANAGER)} (hydra_pmi_proxy)",
            },
        ),
        (
            "mpich-in-salloc",
            {
                "num_processes": "4 (PMI_SIZE)",
                "nproc_per_node": "2 (MPI_LOCALNRANKS)",
                "engine": "exec (MPI_LOCALNRANKS)",
                "num_machines": "2 (MPI_LOCALNRANKS)",
                "main_process_ip": "n1 (SLURM_STEP_NODELIST)",
                "main_process_port": f"{port(9)} (SLURM_JOB_ID)",
            },
        ),
    ],
)
def test_what_is_taken(name: str, found: dict[str, str]) -> None:
    assert taken(recorded(name)) == found


def test_the_rank_of_a_task() -> None:
    def ranks(name: str) -> tuple[int | None, ...]:
        task = read(recorded(name), Managed()).task
        assert task is not None
        return task.rank, task.total, task.local_rank, task.local, task.machine, task.machines

    assert ranks("srun-two-on-each") == (3, 4, 1, 2, 1, 2)
    assert ranks("srun-uneven") == (2, 3, 0, 1, 1, 2)
    assert ranks("openmpi-0") == (0, 2, 0, 2, 0, 1)
    assert ranks("impi") == (1, 2, 1, 2, 0, 1)
    assert ranks("mpich-in-salloc") == (3, 4, 1, 2, None, None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "salloc",
            "this runs where salloc was called, not on the job's machines (n[1-2], SLURM_JOB_NODELIST): start",
        ),
        (
            "sbatch",
            "this is one process on one machine, but the job has 2 (SLURM_JOB_NUM_NODES: n[1-2]): start it",
        ),
        ("salloc-interactive", "this is one process on one machine, but the job has 2"),
        (
            "salloc-het",
            "not on the job's machines (n1,n2, SLURM_JOB_NODELIST_HET_GROUP_*): start it on each with `srun --het-g",
        ),
        (
            "sbatch-het",
            "but the job has 2 (SLURM_JOB_NODELIST_HET_GROUP_*: n1,n2): start it on each with `srun --het-group=0-1 ac",
        ),
        ("sbatch-from-a-step", ""),
        ("srun-one-node", ""),
    ],
)
def test_outside_a_step_a_job_is_not_taken_for_this_process(name: str, expected: str) -> None:
    todo = planned(recorded(name), "--cpu")
    assert (todo.engine, len(todo.commands)) == ("exec", 1)
    assert [note for note in todo.notes if "srun" in note] == [
        note for note in todo.notes if expected and expected in note
    ]
    assert not expected or any(expected in note for note in todo.notes)


def test_a_job_submitted_from_inside_a_heterogeneous_one_is_not_that() -> None:
    inherited = {name: value for name, value in recorded("sbatch-het").items() if "_HET_" in name}
    todo = planned({**recorded("sbatch"), **inherited, "SLURM_JOB_ID": "17"}, "--cpu")
    assert any("but the job has 2 (SLURM_JOB_NUM_NODES: n[1-2]): start it" in note for note in todo.notes)


def test_a_machine_of_a_step(tmp_path: Path) -> None:
    todo = planned(recorded("sbatch-srun"), "--cpu", "--nproc_per_node", "2")
    assert (todo.engine, todo.hosted) == ("torchrun", 2)
    words = todo.commands[0].argv
    assert {"--nnodes=2", "--node-rank=1", "--nproc-per-node=2"} <= set(words)
    assert (
        "by the scheduler: num_machines 2 (SLURM_STEP_NUM_NODES), machine_rank 1 (SLURM_NODEID), "
        f"main_process_ip n1 (SLURM_STEP_NODELIST), main_process_port {port(7)} (SLURM_JOB_ID)"
    ) in todo.summary


def test_a_task_becomes_its_rank() -> None:
    todo = planned(recorded("srun-two-on-each"), "--cpu")
    (command,) = todo.commands
    assert (todo.engine, todo.supervised, command.rank, command.local_rank) == ("exec", False, 3, 1)
    assert command.argv == ("/py", "-u", "conftest.py", "x")
    expected = {
        "RANK": "3",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "4",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "1",
        "GROUP_WORLD_SIZE": "2",
        "MASTER_ADDR": "n1",
        "MASTER_PORT": str(port(3)),
        "OMP_NUM_THREADS": "4",
        "ACCELERATE_USE_CPU": "True",
    }
    assert {name: command.env[name] for name in expected} == expected
    assert "KMP_AFFINITY" not in command.env  # two ranks would be bound to the same cores
    assert todo.summary.startswith("rank 3 of 4 on CPU, machine 1 of 2, MULTI_CPU, precision no, engine exec, by the")


def test_under_hydra_a_rank_has_a_parent_that_ends_the_others() -> None:
    (command,) = planned(recorded("mpich"), "--cpu").commands
    at = next(place for place, word in enumerate(command.argv) if word.endswith("/ranks/parent.py"))
    assert command.argv[at + 1 :] == ("/py", "-u", "conftest.py", "x")
    (command,) = planned(recorded("mpich-in-salloc"), "--cpu").commands
    assert "GROUP_RANK" not in command.env  # Hydra doesn't set the machine


def test_a_tasks_devices() -> None:
    environ = recorded("srun-two-on-each")
    (command,) = planned(environ, on=host(2)).commands
    assert (command.env["LOCAL_RANK"], command.device) == ("1", "GPU 1")
    (command,) = planned(environ, on=host(1)).commands  # as --gpus-per-task gives them
    assert (command.env["LOCAL_RANK"], command.device) == ("0", "GPU 0")
    slices = tuple(Device("GPU", f"MIG-{name}", uuid=f"MIG-{name}") for name in "ab")
    for seen in (slices, slices[1:]):
        (command,) = planned(environ, on=host(seen)).commands
        own = (command.env["LOCAL_RANK"], command.env["CUDA_VISIBLE_DEVICES"], command.device)
        assert own == ("0", "MIG-b", "GPU MIG-b")
    todo = planned(environ)
    assert todo.commands[0].env["ACCELERATE_USE_CPU"] == "True"
    assert any("no device is found, so the ranks train on the CPU with gloo" in note for note in todo.notes)
    eight = {**environ, "SLURM_STEP_TASKS_PER_NODE": "1,8", "SLURM_TASKS_PER_NODE": "1,8", "SLURM_LOCALID": "4"}
    eight |= {"SLURM_STEP_NUM_TASKS": "9", "SLURM_PROCID": "5"}
    with pytest.raises(AccelError, match=r"started 8 tasks on this machine, .* only 2 devices are visible"):
        planned(eight, on=host(2))
    with pytest.raises(AccelError, match=r"MULTI_GPU .*: no device is found on this machine"):
        planned(environ, "--multi_gpu")


def test_the_cores_that_slurm_gives_a_task() -> None:
    environ = {**recorded("srun-two-on-each"), "SLURM_CPUS_PER_TASK": "6"}
    (command,) = planned(environ, "--cpu").commands
    assert command.env["OMP_NUM_THREADS"] == "6"
    (command,) = planned(environ, "--cpu", on=host(cores=3)).commands  # where it is bound to them
    assert command.env["OMP_NUM_THREADS"] == "3"
    environ = {**recorded("sbatch-srun"), "SLURM_CPUS_PER_TASK": "6"}  # where the task is the machine
    (command,) = planned(environ, "--cpu", "--nproc_per_node", "4").commands
    assert command.env["OMP_NUM_THREADS"] == "2"


# What wins.

FILE = "num_machines: 1\nmachine_rank: 0\nmain_process_ip: 10.0.0.9\nnum_processes: 8\nuse_cpu: true\n"


def test_the_scheduler_stands_between_variables_and_file(tmp_path: Path) -> None:
    environ = {**recorded("sbatch-srun"), "ACCELERATE_LAUNCH_MAIN_PROCESS_IP": "10.1.1.1"}
    settings = settings_of(environ, "--main_process_port", "29501", file=tmp_path / "c.yaml", text=FILE)
    origins = {name: settings.origin(name) for name in ("num_machines", "machine_rank", "main_process_ip")}
    assert origins == {
        "num_machines": "SLURM_STEP_NUM_NODES",
        "machine_rank": "SLURM_NODEID",
        "main_process_ip": "ACCELERATE_LAUNCH_MAIN_PROCESS_IP",
    }
    assert settings.value("main_process_port").value == 29501


def test_a_files_total_is_for_its_machines(tmp_path: Path) -> None:
    settings = settings_of(recorded("sbatch-srun"), file=tmp_path / "c.yaml", text=FILE)
    on = host(environ=recorded("sbatch-srun"), probe=Managed(), cwd=str(RECORDED.parent))
    todo = plan(settings, on, ["conftest.py"])
    assert "--nproc-per-node=8" in todo.commands[0].argv
    where = f"{tmp_path}/c.yaml"
    assert (
        f"num_machines is 2 (SLURM_STEP_NUM_NODES), not 1 ({where}:1); main_process_ip is n1 (SLURM_STEP_NODELIST), not "
        f"10.0.0.9 ({where}:3); num_processes 8 ({where}:4) means 8 on each machine"
    ) in todo.notes


def test_a_file_that_the_wizard_wrote_for_one_process(tmp_path: Path) -> None:
    text = "distributed_type: 'NO'\nnum_machines: 1\nmachine_rank: 0\nnum_processes: 1\nuse_cpu: true\n"
    settings = settings_of(recorded("sbatch-srun"), file=tmp_path / "c.yaml", text=text)
    on = host(environ=recorded("sbatch-srun"), probe=Managed(), cwd=str(RECORDED.parent))
    todo = plan(settings, on, ["conftest.py"])
    assert {"--nnodes=2", "--node-rank=1", "--nproc-per-node=1"} <= set(todo.commands[0].argv)
    assert todo.notes[0] == f"num_machines is 2 (SLURM_STEP_NUM_NODES), not 1 ({tmp_path}/c.yaml:2)"
    settings = settings_of(recorded("srun-two-on-each"), file=tmp_path / "c.yaml", text=text)
    both = "num_machines is 2 (SLURM_STEP_NUM_NODES), not 1 ({0}:2); num_processes is 4 (SLURM_STEP_NUM_TASKS), not 1 ({0}:4)"
    assert settings.notes == (both.format(tmp_path / "c.yaml"),)


def test_on_one_machine_a_files_address_is_another_machines(tmp_path: Path) -> None:
    text = FILE.replace("num_machines: 1", "num_machines: 2")
    settings = settings_of(recorded("srun-one-node"), file=tmp_path / "c.yaml", text=text)
    assert settings.value("num_machines").value == 1
    assert settings.value("main_process_ip").value is None
    assert settings.value("nproc_per_node").value == 4


def test_a_typed_number_of_machines_leaves_the_rest_out() -> None:
    settings = settings_of(recorded("sbatch-srun"), "--num_machines", "1")
    assert [settings.given(name) for name in ("machine_rank", "main_process_ip")] == [False, False]
    assert settings.notes == (
        "num_machines 1 (--num_machines), but Slurm started 2 (SLURM_STEP_NUM_NODES): its settings have no effect",
    )
    settings = settings_of(recorded("sbatch-srun"), "--num_machines", "2")
    assert settings.origin("machine_rank") == "SLURM_NODEID"


@pytest.mark.parametrize(
    "flags",
    [
        ("--num_processes", "1"),
        ("--num_machines", "1"),
        ("--nproc_per_node", "4"),
        ("--engine", "local"),
    ],
)
def test_flags_that_contradict_tasks_are_refused(flags: tuple[str, ...]) -> None:
    with pytest.raises(AccelError) as refusal:
        settings_of(recorded("srun-two-on-each"), *flags)
    assert f"{flags[0][2:]} {flags[1]} ({flags[0]})" in str(refusal.value)
    assert "Slurm started 4 tasks (SLURM_STEP_NUM_TASKS), 2 of them on this machine" in str(refusal.value)
    assert "--no_scheduler" in str(refusal.value)
    same = ("--num_processes", "4", "--num_machines", "2", "--nproc_per_node", "2", "--engine", "exec")
    assert settings_of(recorded("srun-two-on-each"), *same).origin("machine_rank") == "SLURM_NODEID"


@pytest.mark.parametrize("name", ["srun-two-on-each", "openmpi-1", "mpich", "sbatch", "salloc"])
def test_no_scheduler_makes_a_run_of_each(name: str) -> None:
    todo = planned(recorded(name), "--cpu", "--no_scheduler")
    assert (todo.engine, todo.notes) == ("exec", ())
    assert "RANK" not in todo.commands[0].env


@pytest.mark.parametrize(
    "flags",
    [
        ("--engine", "mpi"),
        ("--mpirun_hostfile", "hosts"),
        ("--deepspeed_hostfile", "hosts"),
        ("--tpu_cluster",),
        ("--slurm",),
        ("--kubernetes",),
    ],
)
def test_launches_with_a_way_of_their_own_to_the_machines_take_nothing(flags: tuple[str, ...]) -> None:
    assert not settings_of(recorded("sbatch-srun"), *flags).given("machine_rank")


def test_a_sagemaker_job_takes_nothing(tmp_path: Path) -> None:
    text = "compute_environment: AMAZON_SAGEMAKER\n"
    settings = settings_of(recorded("srun-one-node"), file=tmp_path / "c.yaml", text=text)
    assert not settings.given("num_machines")


@pytest.mark.parametrize("inside", ["LOCAL_RANK", "TORCHELASTIC_RUN_ID"])
def test_inside_another_launch_nothing_is_taken(inside: str) -> None:
    environ = {**recorded("srun-two-on-each"), inside: "0", "RANK": "3", "MASTER_ADDR": "n1"}
    todo = planned(environ, "--cpu")
    assert (todo.engine, len(todo.commands)) == ("exec", 1)
    assert todo.notes == (
        f"this runs inside another launch ({inside}), so variables have no effect: SLURM_JOB_ID, RANK, MASTER_ADDR",
    )
    assert planned({inside: "0"}, "--cpu").notes == ()


# Slurm's steps.


def test_runs_at_the_same_time_meet_at_different_ports() -> None:
    def found(job: int, step: int) -> int:
        environ = {**recorded("sbatch-srun"), "SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)}
        value = read(environ, Managed()).values["main_process_port"].value
        assert isinstance(value, int)
        return value

    ports = [found(job, step) for job in range(100, 140) for step in range(8)]
    assert len(set(ports)) == len(ports)
    assert all(1024 < number < 32768 for number in ports)  # below those that the kernel hands out
    # The launchers' own port, the one above, is none of these either.
    assert not {number + 1 for number in ports} & set(ports)


def test_a_job_that_inherits_a_steps_variables_is_known_by_its_machines_or_its_tasks() -> None:
    environ = {**recorded("sbatch-from-a-step"), "SLURM_TASKS_PER_NODE": "1(x2)"}
    assert not read(environ, Managed()).values  # the step's machines are not all the job's
    environ |= {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_NUM_NODES": "2"}
    assert read(environ, Managed()).values  # which looks like a step of this very job in every way
    environ |= {"SLURM_TASKS_PER_NODE": "2(x2)"}
    assert not read(environ, Managed()).values


@pytest.mark.parametrize("lost", ["SLURM_STEP_NUM_NODES", "SLURM_STEP_NUM_TASKS", "SLURM_NODEID"])
def test_a_step_that_lacks_a_variable_places_nothing(lost: str) -> None:
    environ = recorded("sbatch-srun")
    del environ[lost]
    found = read(environ, Managed())
    assert not found.values
    assert "the step has no effect" in found.notes[0]


def test_a_list_of_tasks_that_does_not_add_up_places_nothing() -> None:
    for text in ("2", "3(x2)", "2(x", "many", ""):
        environ = {**recorded("srun-two-on-each"), "SLURM_STEP_TASKS_PER_NODE": text, "SLURM_TASKS_PER_NODE": text}
        assert not read(environ, Managed()).values, text


@pytest.mark.parametrize(
    ("name", "all_get"),
    [
        ("sbatch-srun", True),
        ("srun-two-on-each", True),
        ("sbatch", False),
        ("salloc-interactive", False),
        ("mpich", False),
    ],
)
def test_who_gets_a_signal_from_slurm(name: str, all_get: bool) -> None:
    assert sent_to_all(recorded(name)) == ((signal.SIGUSR1, signal.SIGUSR2) if all_get else ())


# mpirun.


@pytest.mark.parametrize("by", ["flags", "variables", "file"])
@pytest.mark.parametrize("name", ["openmpi-1", "mpich"])
def test_one_process_of_mpirun_on_each_machine_is_its_launcher(name: str, by: str, tmp_path: Path) -> None:
    local = "OMPI_COMM_WORLD_LOCAL_SIZE" if name == "openmpi-1" else "MPI_LOCALNRANKS"
    rank = "OMPI_COMM_WORLD_RANK" if name == "openmpi-1" else "PMI_RANK"
    first = {"OMPI_COMM_WORLD_LOCAL_RANK": "0"} if name == "openmpi-1" else {"MPI_LOCALRANKID": "0"}
    environ = {**recorded(name), local: "1", **first, "MASTER_ADDR": "10.0.0.1"}
    counts = {"num_machines": "2", "num_processes": "16"}
    flags: list[str] = []
    if by == "flags":
        flags = [word for one, count in counts.items() for word in (f"--{one}", count)]
    elif by == "variables":
        environ |= {f"ACCELERATE_LAUNCH_{one.upper()}": count for one, count in counts.items()}
    text = (
        "".join(f"{one}: {count}\n" for one, count in counts.items()) if by == "file" else "mixed_precision: bf16\n"
    )
    file = tmp_path / "c.yaml"
    settings = settings_of(environ, *flags, file=file, text=text)
    assert (settings.value("machine_rank").value, settings.origin("machine_rank")) == (1, rank)
    assert not settings.given("engine")
    todo = planned(environ, "--config_file", str(file), *flags, on=host(8))
    assert todo.engine == "torchrun"
    assert todo.summary.startswith("8 processes on 8 GPU, machine 1 of 2, MULTI_GPU")
    assert todo.lifeline is not None
    assert todo.lifeline.address == "10.0.0.1"


@pytest.mark.parametrize(
    ("flags", "summary"),
    [
        (("--num_processes", "4"), "4 processes on 8 GPU"),
        (
            ("--num_machines", "2", "--machine_rank", "1", "--main_process_ip", "h", "--main_process_port", "9"),
            "8 proc",
        ),
        (("--engine", "torchrun", "--nproc_per_node", "2"), "2 processes on"),
        ((), "rank 0 of 1 on 8 GPU"),
    ],
)
def test_of_the_only_process_of_an_mpirun_flags_are_believed(flags: tuple[str, ...], summary: str) -> None:
    alone = {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}
    todo = planned({**recorded("openmpi-0"), **alone}, *flags, on=host(8))
    assert todo.summary.startswith(summary.replace("8 GPU", "4 GPU") if "4 processes" in summary else summary)
    assert any("Open MPI started one process" in note for note in todo.notes) == bool(flags)


def test_ranks_whose_flags_count_otherwise_are_told_how_to_be_machines() -> None:
    environ = {**recorded("openmpi-1"), "OMPI_COMM_WORLD_LOCAL_SIZE": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}
    with pytest.raises(AccelError, match="give --num_machines 2 if each is a machine"):
        settings_of(environ, "--num_processes", "16")
    for wrong in ("3", "1"):  # another number of machines
        with pytest.raises(AccelError, match="each one is a rank"):
            settings_of(environ, "--num_machines", wrong, "--num_processes", "16")


FOUR = {"OMPI_COMM_WORLD_SIZE": "4"}


def test_ranks_on_several_machines_meet_where_open_mpi_was_started() -> None:
    made = planned({**recorded("openmpi-1"), **FOUR}, "--cpu")
    assert made.summary.startswith("rank 1 of 4 on CPU, several machines, MULTI_CPU,")  # MPI doesn't set which
    (command,) = made.commands
    assert (command.env["MASTER_ADDR"], command.env["MASTER_PORT"]) == ("vm", "25578")
    dashes = {
        "PMIX_NAMESPACE": "prterun-node-1.a-b-5884@1",
        "PMIX_SERVER_URI2": "prterun-node-1.a-b-5884@0.1;tcp4://",
    }
    (command,) = planned({**recorded("openmpi-1"), **FOUR, **dashes}, "--cpu").commands
    assert command.env["MASTER_ADDR"] == "node-1.a-b"
    exported = {**recorded("openmpi-1"), **FOUR, "MASTER_ADDR": "node-1", "MASTER_PORT": "29501"}
    (command,) = planned(exported, "--cpu").commands
    assert (command.env["MASTER_ADDR"], command.env["MASTER_PORT"]) == ("node-1", "29501")


@pytest.mark.parametrize(
    ("name", "changed", "here"),
    [
        # Rank 0 itself, which another daemon than mpirun started.
        (
            "openmpi-0",
            {**FOUR, "PMIX_SERVER_URI2": "prterun-vm-5884@0.1;tcp4://127.0.0.1:47073"},
            socket.gethostname(),
        ),
        ("openmpi-1", {**FOUR, "PMIX_NAMESPACE": "5884@1"}, ""),
        ("openmpi-1", {**FOUR, "PMIX_NAMESPACE": "other-vm-5884@1"}, ""),
        ("openmpi-1", {**FOUR, "PMIX_NAMESPACE": "prterun-5884@1"}, ""),
        ("openmpi-1", {**FOUR, "PMIX_NAMESPACE": ""}, ""),
        ("mpich", {"PMI_SIZE": "4"}, ""),
    ],
)
def test_ranks_that_nobody_tells_where_they_meet(name: str, changed: dict[str, str], here: str) -> None:
    environ = {**recorded(name), **changed}
    total = "OMPI_COMM_WORLD_SIZE" if "openmpi" in name else "PMI_SIZE"
    where = f" ({here})" if here else ""
    with pytest.raises(AccelError) as raised:
        planned(environ, "--cpu")
    assert str(raised.value) == (
        f"4 ranks were started on several machines ({total}), but main_process_ip isn't set, the address at which they meet: "
        f"give --main_process_ip, the host of rank 0{where}, or MASTER_ADDR to all ranks"
    )
    (command,) = planned(environ, "--cpu", "--main_process_ip", "node-1").commands
    assert command.env["MASTER_ADDR"] == "node-1"


class Meeting(Mpi):
    """An mpirun that knows where rank 0 is."""

    def meet(self, environ: Mapping[str, str], rank: int) -> tuple[str, str] | None:  # noqa: ARG002 - asks nobody
        return "node-7", "kvs_7_0"

    def first_host(self) -> str:
        return "node-8"


@pytest.mark.parametrize("name", ["mpich", "impi", "mpich-in-salloc"])
def test_ranks_of_several_machines_tell_each_other(name: str) -> None:
    environ = {**recorded(name), "PMI_SIZE": "4"}
    found = read(environ, Managed(mpi=Meeting()))
    assert f"{found.values['main_process_ip'].value} ({found.values['main_process_ip'].origin})" == "node-7 (PMI_FD)"
    assert f"{found.values['main_process_port'].value}" == f"{port(mpi._digest('kvs_7_0'))}"
    assert found.task is not None
    assert found.task.met
    given = read({**environ, "MASTER_ADDR": "node-1"}, Managed(mpi=Meeting()))
    assert given.values["main_process_ip"].value == "node-1"
    assert given.task is not None
    assert not given.task.met
    alone = read({**environ, "PMI_SIZE": "2", "PMI_RANK": "1"}, Managed(mpi=Meeting()))
    assert alone.values["main_process_ip"].value == "127.0.0.1"


def test_the_manager_of_open_mpi_5_is_asked_first() -> None:
    def at(name: str, **changed: str) -> object:
        return read({**recorded(name), **FOUR, **changed}, Managed(mpi=Meeting())).values["main_process_ip"].value

    elsewhere = {"PMIX_SERVER_URI2": "prterun-vm-5884@0.1;tcp4://"}
    assert [at("openmpi-1"), at("openmpi-0", **elsewhere), at("openmpi-1", SLURM_JOB_NODELIST="n[1-2]")] == [
        "node-8"
    ] * 3
    assert at("openmpi-1", MASTER_ADDR="node-1") == "node-1"
    assert at("openmpi4") == "192.0.2.2"  # a rank of version 4 that has asked could not call MPI any more
    found = read(recorded("openmpi-1"), Managed(mpi=Meeting())).values["main_process_ip"]
    assert found.value == "127.0.0.1"


class Routed(Network):
    """A network in which one address answers."""

    asked: tuple[tuple[str, int], ...] = ()

    def answers(self, address: str, port: int) -> bool:
        self.asked = (*self.asked, (address, port))
        return address == "10.0.0.1"


def test_of_the_addresses_that_open_mpi_4_tells_one_that_answers_is_taken() -> None:
    def at(uri: str, **changed: str) -> object:
        environ = {**recorded("openmpi4"), **FOUR, "OMPI_MCA_orte_hnp_uri": uri, **changed}
        found = read(environ, Managed(network)).values.get("main_process_ip")
        return found and f"{found.value} ({found.origin})"

    network, of = Routed(), "OMPI_MCA_orte_hnp_uri"
    two = "1.0;tcp://172.17.0.1,10.0.0.1:7001;tcp6://[fd00::2]:7002"
    assert at("1.0;tcp://10.0.0.9:7001") == f"10.0.0.9 ({of})"
    assert network.asked == ()
    assert at(two) == f"10.0.0.1 ({of})"
    assert network.asked == (("172.17.0.1", 7001), ("10.0.0.1", 7001))
    assert at("1.0;tcp://172.17.0.1,172.18.0.1:7001") is None
    assert at("1.0;tcp6://[fd00::2]:7002") == f"fd00::2 ({of})"
    for nowhere in ("", "1.0", "1.0;tcp://10.0.0.9:x", "1.0;tcp6://[fd00::2]:x"):
        assert at(nowhere) is None
    first = {"OMPI_COMM_WORLD_RANK": "0"}
    assert at(two, **first) is None
    assert at(two, **first, OMPI_MCA_orte_local_daemon_uri=two) == f"172.17.0.1 ({of})"


class Beacon(Mpi):
    """The rank-0 beacon, which records what it is asked."""

    def __init__(self, heard: str | None = None, *, listens: bool = True) -> None:
        super().__init__()
        self.asked: list[object] = []
        self._heard, self._listens = heard, listens

    def start_beacon(self, port: int, askers: int) -> bool:
        self.asked.append((port, askers))
        return self._listens

    def find_beacon(self, hosts: tuple[str, ...], port: int) -> str | None:
        self.asked.append((hosts, port))
        return self._heard


class Called(Network):
    """mpirun's machine, which two daemons have called."""

    def callers(self, ports: Collection[int]) -> tuple[str, ...]:
        return ("10.0.0.2", "10.0.0.3") if list(ports) == [7001] else ()


MPIRUN = "9.0;tcp://10.0.0.9:7001"
NODES = "gpu[2:9,1-2],10.0.0.3@0(4)"  # mpirun's own first


@pytest.mark.parametrize(
    ("rank", "local_rank", "daemon", "nodes", "universe", "heard", "at", "asked"),
    [
        # All machines have ranks: rank 0 is where mpirun is, and so is its first rank.
        (0, 0, 0, 4, 4, None, "10.0.0.9 (OMPI_MCA_orte_hnp_uri)", None),
        (1, 1, 0, 4, 4, None, "10.0.0.9 (OMPI_MCA_orte_hnp_uri)", None),
        (3, 1, 2, 4, 4, None, "10.0.0.9 (OMPI_MCA_orte_hnp_uri)", None),
        # A machine may have no ranks: rank 0 starts the beacon, wherever it is.
        (0, 0, 0, 4, 6, None, "10.0.0.9 (OMPI_MCA_orte_hnp_uri)", 2),
        (0, 0, 0, 2, 4, None, "10.0.0.9 (OMPI_MCA_orte_hnp_uri)", 2),  # more daemons have called
        (0, 0, 0, 3, 4, None, "10.0.0.9 (OMPI_MCA_orte_hnp_uri)", None),
        (0, 0, 1, 3, 6, None, "gpu01 (OMPI_MCA_orte_node_regex)", 3),
        (0, 0, 3, 3, 4, None, "10.0.0.3 (OMPI_MCA_orte_node_regex)", 3),
        # The others look for the beacon on all machines.
        (3, 1, 2, 3, 6, "gpu01", "gpu01 (OMPI_MCA_orte_node_regex)", ("10.0.0.9", "gpu01", "gpu02", "10.0.0.3")),
        (3, 1, 2, 3, 6, "10.0.0.9", "10.0.0.9 (OMPI_MCA_orte_hnp_uri)", ("10.0.0.9", "gpu01", "gpu02", "10.0.0.3")),
        (3, 1, 2, 3, 6, None, "10.0.0.9 (OMPI_MCA_orte_hnp_uri)", ("10.0.0.9", "gpu01", "gpu02", "10.0.0.3")),
        # The user has placed rank 0 elsewhere, though mpirun's machine has ranks.
        (0, 0, 1, 4, 4, None, None, None),
        (1, 0, 0, 4, 4, None, None, None),
        # A daemon that isn't in the list.
        (0, 0, 4, 3, 6, None, None, None),
    ],
)
def test_rank_0_of_open_mpi_4_says_where_it_is(
    rank: int, local_rank: int, daemon: int, nodes: int, universe: int, heard: str | None, at: object, asked: object
) -> None:
    environ = {
        **recorded("openmpi4"),
        **FOUR,
        "OMPI_COMM_WORLD_RANK": f"{rank}",
        "OMPI_COMM_WORLD_LOCAL_RANK": f"{local_rank}",
        "OMPI_UNIVERSE_SIZE": f"{universe}",
        "OMPI_MCA_orte_hnp_uri": MPIRUN,
        "OMPI_MCA_orte_local_daemon_uri": MPIRUN if daemon == 0 else f"9.{daemon};tcp://10.0.0.{daemon}:7002",
        "OMPI_MCA_orte_num_nodes": f"{nodes}",
        **({"OMPI_MCA_orte_node_regex": NODES} if daemon else {}),
    }
    beacon = Beacon(heard)
    values = read(environ, Managed(Called(), beacon)).values
    found, above = values.get("main_process_ip"), int(f"{values['main_process_port'].value}") + 1
    assert (found and f"{found.value} ({found.origin})") == at
    expected = (above, asked) if isinstance(asked, int) else (asked, above)
    assert beacon.asked == ([] if asked is None else [expected])


ALL = ("10.0.0.9", "gpu01", "gpu02", "10.0.0.3")
CALLED = ("10.0.0.9", "10.0.0.2", "10.0.0.3")


@pytest.mark.parametrize(
    "placement",
    [
        {"OMPI_MCA_orte_rankfile": "ranks"},
        {"OMPI_MCA_rmaps_rank_file_path": "ranks"},
        {"OMPI_MCA_rmaps": "seq"},
        {"OMPI_MCA_rmaps_base_mapping_policy": "SEQ:OVERSUBSCRIBE"},
        {"OMPI_NUM_APP_CTX": "2"},
    ],
)
@pytest.mark.parametrize(
    ("rank", "local_rank", "daemon", "heard", "at", "asked"),
    [
        (0, 0, 0, None, "10.0.0.9 (OMPI_MCA_orte_hnp_uri)", 3),
        (0, 0, 1, None, "gpu01 (OMPI_MCA_orte_node_regex)", 3),
        (1, 0, 0, "10.0.0.2", "10.0.0.2 (OMPI_MCA_orte_hnp_uri)", CALLED),
        (1, 1, 0, "10.0.0.9", "10.0.0.9 (OMPI_MCA_orte_hnp_uri)", CALLED),
        (2, 0, 1, "10.0.0.9", "10.0.0.9 (OMPI_MCA_orte_hnp_uri)", ALL),
        (2, 0, 1, "gpu02", "gpu02 (OMPI_MCA_orte_node_regex)", ALL),
        # No beacon answers: rank 0 is taken to be on mpirun's host, unless this rank would be rank 0 then.
        (1, 1, 0, None, "10.0.0.9 (OMPI_MCA_orte_hnp_uri)", CALLED),
        (2, 0, 1, None, "10.0.0.9 (OMPI_MCA_orte_hnp_uri)", ALL),
        (1, 0, 0, None, None, CALLED),
    ],
)
def test_where_the_user_says_which_rank_goes_where_rank_0_of_open_mpi_4_is_asked(
    placement: dict[str, str], rank: int, local_rank: int, daemon: int, heard: str | None, at: object, asked: object
) -> None:
    environ = {
        **recorded("openmpi4"),
        **FOUR,
        **placement,
        "OMPI_COMM_WORLD_RANK": f"{rank}",
        "OMPI_COMM_WORLD_LOCAL_RANK": f"{local_rank}",
        "OMPI_UNIVERSE_SIZE": "4",
        "OMPI_MCA_orte_hnp_uri": MPIRUN,
        "OMPI_MCA_orte_local_daemon_uri": MPIRUN if daemon == 0 else f"9.{daemon};tcp://10.0.0.{daemon}:7002",
        "OMPI_MCA_orte_num_nodes": "4",
        **({"OMPI_MCA_orte_node_regex": NODES} if daemon else {}),
    }
    beacon = Beacon(heard)
    values = read(environ, Managed(Called(), beacon)).values
    found, above = values.get("main_process_ip"), int(f"{values['main_process_port'].value}") + 1
    assert (found and f"{found.value} ({found.origin})") == at
    assert beacon.asked == [(above, asked) if isinstance(asked, int) else (asked, above)]


def test_in_a_job_of_slurm_its_first_machine_has_rank_0_of_open_mpi_unless_the_user_places_it() -> None:
    def at(name: str, **changed: str) -> object:
        environ = {**recorded(name), **FOUR, "SLURM_JOB_NODELIST": "n[7-8]", **changed}
        return read(environ, Managed(Called(), Beacon("10.0.0.3"))).values["main_process_ip"].value

    by_hand = {"OMPI_MCA_orte_rankfile": "ranks", "OMPI_NUM_APP_CTX": "2"}
    assert (at("openmpi4"), at("openmpi4", **by_hand)) == ("n7", "10.0.0.3")
    assert at("openmpi-1", **by_hand) == "n7"


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("n[1:0-1]@0(2)", {"0": "n0", "1": "n1"}),
        ("n[1:2,1,0]@0,2,1", {"0": "n2", "2": "n1", "1": "n0"}),
        ("a,b[2:1-4],c@0,-1(2),3(2),1", {"0": "a", "3": "b03", "4": "b04", "1": "c"}),
        ("a,b", {}),
        ("a,b@0(x,1", {"0": "a", "1": "b"}),
        ("", {}),
    ],
)
def test_open_mpi_4_says_which_daemon_is_where(text: str, nodes: dict[str, str]) -> None:
    assert orte._nodes(text) == nodes


def test_rank_0_of_open_mpi_4_that_nobody_can_hear_is_refused() -> None:
    environ = {
        **recorded("openmpi4"),
        **FOUR,
        "OMPI_COMM_WORLD_RANK": "0",
        "OMPI_MCA_orte_hnp_uri": MPIRUN,
        "OMPI_MCA_orte_local_daemon_uri": "9.1;tcp://10.0.0.1:7002",
        "OMPI_MCA_orte_num_nodes": "3",
        "OMPI_MCA_orte_node_regex": NODES,
    }
    assert "main_process_ip" in read(environ, Managed(Called(), Beacon())).values
    assert "main_process_ip" not in read(environ, Managed(Called(), Beacon(listens=False))).values


class Spawned(Network):
    """A network in which mpispawn listens on these ports and has been called by these hosts."""

    def __init__(self, ports: dict[int, str]) -> None:
        super().__init__()
        self._ports = ports

    def listening(self, pid: int) -> frozenset[int]:
        assert pid == MANAGER
        return frozenset(self._ports)

    def callers(self, ports: Collection[int]) -> tuple[str, ...]:
        return tuple(host for port, host in self._ports.items() if port in ports and host)


@pytest.mark.parametrize("prefix", ["MV2", "MVP"])
@pytest.mark.parametrize(
    ("rank", "variables", "ports", "at"),
    [
        # Daemons that we may not look at: the host of mpirun_rsh.
        (3, {"MPISPAWN_MPIRUN_HOST": "node-1"}, {}, "node-1 (MPISPAWN_MPIRUN_HOST)"),
        (3, {"MPISPAWN_MPIRUN_HOST": "node-1", "MPISPAWN_ID": "1"}, {}, "node-1 (MPISPAWN_MPIRUN_HOST)"),
        (0, {"MPISPAWN_MPIRUN_HOST": "HERE"}, {}, "HERE (MPISPAWN_MPIRUN_HOST)"),
        (0, {"MPISPAWN_MPIRUN_HOST": "node-1", "MPISPAWN_ID": "0"}, {}, None),
        (3, {}, {}, None),
        # A star: machine 0's has called this one's. Ranks that use MPI call it too, elsewhere.
        (0, {"MPISPAWN_MPIRUN_HOST": "node-1", "MPISPAWN_ID": "0"}, {41: "", 42: ""}, "HERE (MPISPAWN_ID)"),
        (3, {"MPISPAWN_MPIRUN_HOST": "node-1", "MPISPAWN_ID": "1"}, {41: "10.0.0.1"}, "10.0.0.1 (MPISPAWN_ID)"),
        (3, {"MPISPAWN_ID": "1", "PMI_PORT": "n:42"}, {42: "10.0.0.2", 41: "10.0.0.1"}, "10.0.0.1 (MPISPAWN_ID)"),
        (3, {"MPISPAWN_ID": "1"}, {41: ""}, None),
        (3, {"MPISPAWN_ID": "1"}, {41: "10.0.0.1", 42: "10.0.0.2"}, None),
        (3, {"SLURM_JOB_NODELIST": "n[7-8]", "MPISPAWN_ID": "1"}, {41: "10.0.0.1"}, "10.0.0.1 (MPISPAWN_ID)"),
        # More than one daemon calls others: the caller may not be machine 0's.
        (3, {"MPISPAWN_ID": "1", "MPISPAWN_NNODES": "34"}, {41: "10.0.0.1"}, None),
        (3, {"MPISPAWN_ID": "1", "MPISPAWN_NNODES": "33"}, {41: "10.0.0.1"}, "10.0.0.1 (MPISPAWN_ID)"),
        (3, {"MPISPAWN_ID": "1", "MPISPAWN_NNODES": "34", "MV2_MT_DEGREE": "33"}, {41: "10.1"}, "10.1 (MPISPAWN_ID)"),
        (3, {"MPISPAWN_ID": "1", "MPISPAWN_NNODES": "6", "MVP_MT_DEGREE": "2"}, {41: "10.0.0.1"}, None),
        (3, {"MPISPAWN_ID": "1", "MPISPAWN_NNODES": "5", "MVP_MT_DEGREE": "2"}, {41: "10.1"}, "10.1 (MPISPAWN_ID)"),
        # In a job of Slurm, its first machine.
        (3, {"SLURM_JOB_NODELIST": "n[7-8]", "MPISPAWN_MPIRUN_HOST": "node-1"}, {}, "n7 (SLURM_JOB_NODELIST)"),
        # A tree, whose daemons are called by those above them.
        (3, {"MPISPAWN_ID": "1", "TREE": "n7:2:0:2:n8:2:1:3:"}, {41: "10.0.0.1"}, "n7 (MPISPAWN_HOSTLIST)"),
        (3, {"MPISPAWN_MPIRUN_HOST": "node-1", "MPISPAWN_ID": "1", "TREE": ""}, {41: "10.0.0.1"}, None),
    ],
)
def test_where_mvapich_has_rank_0(
    prefix: str, rank: int, variables: dict[str, str], ports: dict[int, str], at: str | None
) -> None:
    """Environments made after its source: there is no MVAPICH here to record."""
    numbers = {"RANK": f"{rank}", "SIZE": "4", "LOCAL_RANK": "1", "LOCAL_SIZE": "2"}
    here = socket.gethostname()
    variables = {name: value.replace("HERE", here) for name, value in variables.items()}
    tree = variables.pop("TREE", None)
    environ = {f"{prefix}_COMM_WORLD_{name}": number for name, number in numbers.items()}
    environ |= {"MPIRUN_ID": "17", "MPISPAWN_NNODES": "2", "USE_LINEAR_SSH": f"{int(tree is None)}", **variables}
    environ |= {"MPISPAWN_HOSTLIST": tree} if tree else {}
    found = read(environ, Managed(Spawned(ports)))
    assert found.title == "MVAPICH"
    value = found.values.get("main_process_ip")
    assert (value and f"{value.value} ({value.origin})") == (at and at.replace("HERE", here))


def test_mvapich_lists_thousands_in_a_file(tmp_path: Path) -> None:
    names = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
    environ = {f"MV2_COMM_WORLD_{name}": number for name, number in zip(names, "3412", strict=True)}
    environ |= {"USE_LINEAR_SSH": "0", "HOST_LIST_FILE": str(tmp_path / "list")}
    assert "main_process_ip" not in read(environ, Managed()).values
    (tmp_path / "list").write_text("n7:2:0:2:n8:2:1:3:")
    assert read(environ, Managed()).values["main_process_ip"].value == "n7"


def test_who_has_called_is_known_by_the_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        ports = [server.getsockname()[1] for server in (first, second)]
        calls = [
            socket.create_connection(("127.0.0.1", port), source_address=(host, 0))
            for port, host in zip((ports[0], *ports), ("127.0.0.3", "127.0.0.3", "127.0.0.4"), strict=True)
        ]
        machine = Probe()
        assert set(ports) <= machine.network.listening(os.getpid())
        assert not {call.getsockname()[1] for call in calls} & machine.network.listening(os.getpid())
        assert not set(ports) & machine.network.listening(os.getppid())
        assert [machine.network.callers([port]) for port in ports] == [("127.0.0.3",), ("127.0.0.4",)]
        for call in calls:
            call.close()
    assert machine.network.listening(0) == frozenset()


def test_who_has_called_by_ipv6_is_known_too() -> None:
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("::1", port)), socket.create_connection(("127.0.0.1", port)):
            assert set(Probe().network.callers([port])) == {"::1", "127.0.0.1"}
            assert port in Probe().network.listening(os.getpid())


def test_what_listens_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        at = server.getsockname()[1]
        assert Probe().network.answers("127.0.0.1", at)
    assert not Probe().network.answers("127.0.0.1", at)


def test_nobody_above_us_speaks_pmix() -> None:
    assert loaded(os.getpid(), pmix.LIBRARY) == ""
    assert loaded(os.getpid(), "libc.so").endswith("/libc.so.6")
    assert Probe().mpi.first_host() == ""
    assert Probe().programs.output(sys.executable, pmix.__file__, "/nowhere/libpmix.so.2") == ""


def test_every_family_of_mpi_has_a_reader() -> None:
    assert [(family.local_rank, "mpi.tasks") for family in families.FAMILIES] == list(
        READERS[: len(families.FAMILIES)]
    )


def test_mpiruns_on_one_machine_meet_at_different_ports() -> None:
    def found(name: str, **changed: str) -> object:
        return read({**recorded(name), **changed}, Managed()).values["main_process_port"].value

    assert found("openmpi-0") == found("openmpi-1") != found("openmpi-1", PMIX_NAMESPACE="prterun-vm-5885@1")
    assert found("impi") != found("impi", I_MPI_HYDRA_UUID="61170000-fa72-4e22-0461-0600ad37f707")


def test_the_nearest_process_of_a_name_is_found() -> None:
    own = Path("/proc/self/stat").read_text().partition("(")[2].rpartition(")")[0]
    parent = Path(f"/proc/{os.getppid()}/stat").read_text().partition("(")[2].rpartition(")")[0]
    assert Probe().ancestors.nearest(parent) == os.getppid()
    assert Probe().ancestors.nearest(f"not {own}") == 0


# Training operators, after their sources (training-operator 1.5 and 1.9, trainer 2.1).

OLD_PYTORCHJOB = {"MASTER_ADDR": "j-master-0", "MASTER_PORT": "23456", "WORLD_SIZE": "3", "RANK": "1"}
PYTORCHJOB = {
    **OLD_PYTORCHJOB,
    "WORLD_SIZE": "24",
    "PET_MASTER_ADDR": "j-master-0",
    "PET_MASTER_PORT": "23456",
    "PET_NODE_RANK": "1",
    "PET_NPROC_PER_NODE": "8",
    "PET_NNODES": "3",
}
ELASTIC = {
    "PET_RDZV_ENDPOINT": "j-worker-0:23456",
    "PET_RDZV_BACKEND": "c10d",
    "PET_NNODES": "1:3",
    "PET_MAX_RESTARTS": "4",
    "PET_NPROC_PER_NODE": "2",
    "HOSTNAME": "j-worker-2",
}
BY_ETCD = {**ELASTIC, "PET_RDZV_ENDPOINT": "etcd-service:2379", "PET_RDZV_BACKEND": "etcd-v2"}
TRAINJOB = {
    "PET_NNODES": "2",
    "PET_NPROC_PER_NODE": "auto",
    "PET_NODE_RANK": "1",
    "PET_MASTER_ADDR": "t-node-0-0.t",
    "PET_MASTER_PORT": "29400",
}


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        (
            OLD_PYTORCHJOB,
            {
                "num_machines": "3 (WORLD_SIZE)",
                "machine_rank": "1 (RANK)",
                "main_process_ip": "j-master-0 (MASTER_ADDR)",
                "main_process_port": "23456 (MASTER_PORT)",
            },
        ),
        (
            PYTORCHJOB,
            {
                "num_machines": "3 (PET_NNODES)",
                "nproc_per_node": "8 (PET_NPROC_PER_NODE)",
                "machine_rank": "1 (PET_NODE_RANK)",
                "main_process_ip": "j-master-0 (PET_MASTER_ADDR)",
                "main_process_port": "23456 (PET_MASTER_PORT)",
            },
        ),
        (
            ELASTIC,
            {
                "num_machines": "1:3 (PET_NNODES)",
                "nproc_per_node": "2 (PET_NPROC_PER_NODE)",
                "machine_rank": "2 (HOSTNAME)",
                "main_process_ip": "j-worker-0 (PET_RDZV_ENDPOINT)",
                "main_process_port": "23456 (PET_RDZV_ENDPOINT)",
                "rdzv_backend": "c10d (PET_RDZV_BACKEND)",
                "max_restarts": "4 (PET_MAX_RESTARTS)",
            },
        ),
        (
            {**BY_ETCD, "MASTER_ADDR": "j-master-0", "MASTER_PORT": "23456"},
            {
                "num_machines": "1:3 (PET_NNODES)",
                "nproc_per_node": "2 (PET_NPROC_PER_NODE)",
                "machine_rank": "2 (HOSTNAME)",
                "main_process_ip": "etcd-service (PET_RDZV_ENDPOINT)",
                "main_process_port": "2379 (PET_RDZV_ENDPOINT)",
                "rdzv_backend": "etcd-v2 (PET_RDZV_BACKEND)",
                "max_restarts": "4 (PET_MAX_RESTARTS)",
            },
        ),
        (
            TRAINJOB,
            {
                "num_machines": "2 (PET_NNODES)",
                "machine_rank": "1 (PET_NODE_RANK)",
                "main_process_ip": "t-node-0-0.t (PET_MASTER_ADDR)",
                "main_process_port": "29400 (PET_MASTER_PORT)",
            },
        ),
        ({**TRAINJOB, "PET_NNODES": "1"}, {"num_machines": "1 (PET_NNODES)", "machine_rank": "0 (PET_NNODES)"}),
        (
            {**OLD_PYTORCHJOB, "WORLD_SIZE": "1", "RANK": "0"},
            {"num_machines": "1 (WORLD_SIZE)", "machine_rank": "0 (RANK)"},
        ),
    ],
    ids=["old PyTorchJob", "PyTorchJob", "elastic PyTorchJob", "by etcd", "TrainJob", "one pod", "one old pod"],
)
def test_a_pod_is_a_machine(environ: dict[str, str], found: dict[str, str]) -> None:
    assert taken(environ) == found


@pytest.mark.parametrize(
    ("environ", "note"),
    [
        (
            {"MASTER_ADDR": "a"},
            "MASTER_ADDR=a in the environment has no effect: RANK, WORLD_SIZE, MASTER_PORT aren't set",
        ),
        ({"RANK": "0"}, "RANK=0 in the environment has no effect: WORLD_SIZE, MASTER_ADDR, MASTER_PORT aren't set"),
        (
            {"MASTER_ADDR": "m", "MASTER_PORT": "1", "WORLD_SIZE": "3", "RANK": "3"},
            "RANK=3, WORLD_SIZE=3, MASTER_ADDR=m, MASTER_PORT=1 in the environment have no effect: the values don't fit together",
        ),
        (
            {**ELASTIC, "HOSTNAME": "other-worker-2"},
            "PET_NNODES=1:3 in the environment has no effect: PET_NODE_RANK isn't set",
        ),
        (
            {"PET_NNODES": "2"},
            "PET_NNODES=2 in the environment has no effect: PET_NODE_RANK, PET_MASTER_ADDR, PET_MASTER_PORT aren't set",
        ),
    ],
)
def test_left_overs_have_no_effect(environ: dict[str, str], note: str) -> None:
    todo = planned(environ, "--cpu")
    assert (todo.engine, todo.notes) == ("exec", (note,))


def test_left_overs_beside_a_scheduler() -> None:
    environ = {**recorded("sbatch-srun"), "MASTER_ADDR": "old", "RANK": "5"}
    note = "RANK, MASTER_ADDR in the environment have no effect: Slurm sets the place of this process"
    assert note in settings_of(environ).notes
    assert note not in settings_of(environ, "--main_process_ip", "10.0.0.1").notes


def test_a_number_that_is_none_names_its_variable() -> None:
    with pytest.raises(AccelError, match=r"PET_NNODES: num_machines must be a whole number or MIN:MAX.*, not 'two'"):
        settings_of({"PET_NNODES": "two"})
