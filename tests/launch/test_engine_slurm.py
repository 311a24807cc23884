"""srun: its command inside a job, and real ranks under a Slurm of two nodes on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from accel_config import AccelError
from accel_launch import Plan, plan
from accel_launch.engines.common.wrapping import PARENT
from accel_launch.machine.host import Host
from accel_launch.schedulers.placement import port
from tests.conftest import BIN, Resolve
from tests.launch.hosts import Still, host
from tests.launch.slurm import Slurm

JOB = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "gpu[01-02]"}
NAMES = 'export RANK="${SLURM_PROCID:?}" WORLD_SIZE="${SLURM_NTASKS:?}" LOCAL_RANK="${SLURM_LOCALID:?}"; exec "$@"'
TWO = ("--num_machines", "2", "--num_processes", "4")


def planned(settings: Resolve, folder: Path, *flags: str, on: Host | None = None) -> Plan:
    (folder / "train.py").touch()
    on = on or host(probe=Still(programs=("srun",)), environ=JOB)
    return plan(settings("--cpu", "--engine", "slurm", *flags), on.replace(cwd=str(folder)), ["train.py", "x"])


def test_srun(settings: Resolve, tmp_path: Path) -> None:
    todo = planned(settings, tmp_path, *TWO)
    (command,) = todo.commands
    assert (todo.engine, todo.hosted) == ("slurm", 2)
    assert command.argv == (
        *("/bin/srun", "--nodes=2", "--ntasks=4", "--ntasks-per-node=2", "--kill-on-bad-exit=1", "--export=ALL"),
        *("sh", "-c", NAMES, "sh", "/py", "-I", "-S", PARENT, "/py", "-u", "train.py", "x"),
    )
    told = {name: command.env[name] for name in ("MASTER_ADDR", "MASTER_PORT", "LOCAL_WORLD_SIZE")}
    assert told == {"MASTER_ADDR": "gpu01", "MASTER_PORT": str(port(4711)), "LOCAL_WORLD_SIZE": "2"}
    assert command.env["ACCELERATE_USE_CPU"] == "True"


def test_jobs_do_not_collide(settings: Resolve, tmp_path: Path) -> None:
    def own(job: int, *flags: str, name: str = "login") -> int:
        environ = {**JOB, "SLURM_JOB_ID": str(job)}
        on = host(probe=Still(programs=("srun",)), environ=environ).replace(name=name)
        return int(planned(settings, tmp_path, *TWO, *flags, on=on).commands[0].env["MASTER_PORT"])

    ports = [own(job) for job in range(100, 140)]
    assert len(set(ports)) == len(ports)
    assert all(1024 < number < 32768 for number in ports)  # below those that the kernel hands out
    assert own(100, name="gpu01.site.org") == 40001  # on the first host itself a free one can be looked for
    assert own(100, "--main_process_port", "29501") == 29501


def test_what_the_job_says_of_cores_reaches_the_step(settings: Resolve, tmp_path: Path) -> None:
    on = host(probe=Still(programs=("srun",)), environ={**JOB, "SLURM_CPUS_PER_TASK": "6"})
    assert "--cpus-per-task=6" in planned(settings, tmp_path, *TWO, on=on).commands[0].argv
    assert (
        planned(settings, tmp_path, *TWO, "--main_process_ip", "10.1.1.1").commands[0].env["MASTER_ADDR"]
        == "10.1.1.1"
    )


@pytest.mark.parametrize(
    ("environ", "programs", "message"),
    [
        ({}, ("srun",), "SLURM_JOB_ID isn't set"),
        (JOB, (), "there is no srun on PATH"),
        (
            {**JOB, "SLURM_JOB_NODELIST": "gpu01"},
            ("srun",),
            "num_machines is 2 (--num_machines), but the job has 1 (SLURM_JOB_NODELIST)",
        ),
    ],
)
def test_outside_a_job_it_is_refused(
    settings: Resolve, tmp_path: Path, environ: dict[str, str], programs: tuple[str, ...], message: str
) -> None:
    on = host(probe=Still(programs=programs), environ=environ)
    with pytest.raises(AccelError) as refusal:
        planned(settings, tmp_path, *TWO, on=on)
    assert message in str(refusal.value)
    assert any(message in note for note in planned(settings, tmp_path, *TWO, "--dry_run", on=on).notes)


def test_a_task_of_srun_does_not_start_all_ranks_again(settings: Resolve, tmp_path: Path) -> None:
    on = host(probe=Still(programs=("srun",)), environ={**JOB, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"})
    with pytest.raises(AccelError, match=r"this is one of 2 tasks of srun .*: leave out engine slurm \(--engine\)"):
        planned(settings, tmp_path, *TWO, on=on)


def test_machines_left_over_are_told(settings: Resolve, tmp_path: Path) -> None:
    todo = planned(settings, tmp_path, "--num_processes", "2")
    assert any(
        "the job has 2 machines (SLURM_JOB_NODELIST), but num_machines is 1 (built in)" in n for n in todo.notes
    )


# A real Slurm of two nodes, in a network of its own.


@pytest.mark.slurm
def test_ranks_meet_on_two_nodes(
    slurm: Slurm, script: Callable[[str], Path], environ: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    path = script(
        "import json, os, sys, torch, torch.distributed as dist\n"
        "dist.init_process_group('gloo')\n"
        "mine = torch.tensor(float(dist.get_rank() + 1))\n"
        "dist.all_reduce(mine)\n"
        "names = ('LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'SLURM_NODEID')\n"
        "told = [dist.get_rank(), dist.get_world_size(), mine.item(), *map(os.environ.get, names), sys.argv[1:]]\n"
        "sys.stdout.write(json.dumps(told) + '\\n')\n"
        "dist.destroy_process_group()\n"
    )
    words = ["a b", "", "$HOME;\"'", ":", "--", "-n", "3"]
    flags = ("--cpu", "--engine", "slurm", *TWO)
    done = slurm.salloc(BIN / "accelerate", "launch", *flags, path, *words, environ=environ, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = sorted(json.loads(line) for line in done.stdout.splitlines())
    assert told == [[rank, 4, 10.0, str(rank % 2), "2", str(rank // 2), words] for rank in range(4)]


@pytest.mark.slurm
@pytest.mark.parametrize("wrap", [(), ("--wrap", """1: sh -c '"$@"; echo kept by %r' sh""")])
def test_the_first_failing_ranks_status_is_ours(
    slurm: Slurm, script: Callable[[str], Path], environ: dict[str, str], tmp_path: Path, wrap: tuple[str, ...]
) -> None:
    path = script("import os, sys, time\nif os.environ['RANK'] == '1':\n    sys.exit(7)\ntime.sleep(60)\n")
    flags = ("--cpu", "--engine", "slurm", "--num_machines", "2", "--num_processes", "2", *wrap)
    started = time.monotonic()
    done = slurm.salloc(BIN / "accelerate", "launch", *flags, path, environ=environ, cwd=tmp_path)
    assert done.returncode == 7, done.stderr
    assert "accel: rank 1 (local rank 0, pid " in done.stderr
    assert "exit status 7" in done.stderr
    assert ("kept by 1" in done.stdout) == bool(wrap)
    assert time.monotonic() - started < 40
