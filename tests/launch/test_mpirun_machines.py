"""`accelerate launch` under the real mpiruns of three MPIs on machines made of namespaces; the fourth is a stand-in."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import BIN
from tests.environments import environment, openmpi_4
from tests.launch import mpirun_rsh
from tests.launch.machines import Network

pytestmark = pytest.mark.machines

# Ranks meet as torch's store has it: the first listens at every address of its machine, the others come to it.
MEET = """
import os, socket, sys, time
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
until = time.monotonic() + 60
if rank == 0:
    with socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        server.settimeout(60)
        peers = [server.accept()[0] for _ in range(world - 1)]
    total = 1 + sum(int(peer.makefile().readline()) for peer in peers)
    for peer in peers:
        peer.sendall(b"%d\\n" % total)
while rank:
    try:
        peer = socket.create_connection((host, port), timeout=10)
    except OSError:
        if time.monotonic() > until:
            raise
        time.sleep(0.05)
        continue
    peer.sendall(b"%d\\n" % (rank + 1))
    total = int(peer.makefile().readline())
    break
sys.stdout.write(f"rank {rank} at {host}: {total}\\n")
sys.stdout.flush()
time.sleep(rank / 2)  # whoever ends first doesn't end the others
"""
MEET_IN_TORCH = """
import os, sys, time
import torch
import torch.distributed as dist
dist.init_process_group("gloo")
one = torch.ones(1) * (dist.get_rank() + 1)
dist.all_reduce(one)
sys.stdout.write(f"rank {dist.get_rank()} at {os.environ['MASTER_ADDR']}: {one.item():.0f}\\n")
sys.stdout.flush()
dist.destroy_process_group()
time.sleep(float(os.environ["RANK"]) / 2)
"""
FAILS = "import os, sys, time\nif os.environ['RANK'] == '2':\n    sys.exit(7)\ntime.sleep(60)\n"
# In the place of ssh: AGENT [OPTION...] HOST WORD...
AGENT = """#!/bin/sh
while case $1 in -*) true;; *) false;; esac; do shift; done
n=${{1#n}}; shift
exec ip netns exec {0}m"$n" unshare --uts sh -c "hostname n$n; exec sh -c \\"\\$0\\"" "$*"
"""


class Mpirun:
    """An mpirun of a kind, on one of the machines, which reaches the others without ssh."""

    def __init__(self, network: Network, environ: dict[str, str], folder: Path) -> None:
        self.network, self.environ, self.folder = network, environ, folder
        self.options: tuple[str, ...] = ()
        self.before: tuple[str, ...] = ()
        """Words that start the launcher of each machine."""
        self.agent = folder / "agent"
        self.agent.write_text(AGENT.format(network.name))
        self.agent.chmod(self.agent.stat().st_mode | stat.S_IXUSR)
        named = "".join(f"{network.address(n)} n{n}\n" for n in range(network.count))
        for n in range(network.count):
            network.hosts(n, f"127.0.0.1 localhost\n{named}")

    def run(
        self, kind: str, *launch: object, on: int = 0, over: tuple[int, ...], count: int = 0, each: int = 2
    ) -> subprocess.CompletedProcess[str]:
        """Run ``accelerate launch`` on the machines ``over``, in this order: ``each`` on each, or ``count``."""
        programs, hosts = self._programs(kind), self.folder / "hosts"
        if kind == MVAPICH:
            named = [f"n{n}" for n in over for _ in range(each)]
            words = [programs / "mpirun_rsh", "-np", count or each * len(over), *named]
            return self._at(on, programs, *words, BIN / "accelerate", "launch", "--cpu", *launch)
        if kind in OPENS:
            slots = f" slots={each}" if len(over) == len(set(over)) else ""
            hosts.write_text("".join(f"n{n}{slots}\n" for n in over))
            agent = ("--prtemca", "plm_ssh_agent") if kind == "openmpi" else ("--mca", "plm_rsh_agent")
            options = ["--allow-run-as-root", "--hostfile", hosts, *agent, self.agent]
        else:
            hosts.write_text("".join(f"n{n}\n" for n in over))
            options = ["-launcher", "ssh", "-launcher-exec", self.agent, "-f", hosts, "-ppn", each]
        words = [programs / "mpirun", *options, *self.options, "-n", count or each * len(over)]
        return self._at(on, programs, *words, *self.before, BIN / "accelerate", "launch", "--cpu", *launch)

    def _programs(self, kind: str) -> Path:
        if kind == "openmpi4":
            return openmpi_4()
        if kind != MVAPICH:
            return environment(kind)
        folder = self.folder / MVAPICH
        folder.mkdir(exist_ok=True)
        mpirun_rsh.install(folder)
        shutil.copy(self.agent, folder / "ssh")
        return folder

    def launch(self, kind: str, *launch: object) -> subprocess.CompletedProcess[str]:
        """Run ``accelerate launch`` by itself on machine 0, with this mpirun on PATH."""
        return self._at(0, environment(kind), BIN / "accelerate", "launch", "--cpu", *launch)

    def _at(self, on: int, programs: Path, *words: object) -> subprocess.CompletedProcess[str]:
        there = ["ip", "netns", "exec", self.network.space(on), "unshare", "--uts", "sh", "-c"]
        return subprocess.run(
            [*there, f'hostname n{on}; exec "$@"', "sh", *map(str, words)],
            env={**self.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=160,
        )


@pytest.fixture
def mpirun(network: Network, environ: dict[str, str], tmp_path: Path) -> Mpirun:
    return Mpirun(network, environ, tmp_path)


Script = Callable[[str], Path]
OPENS, HYDRAS = ("openmpi", "openmpi4"), ("mpich", "impi")
MVAPICH = "mvapich"  # a stand-in, see `mpirun_rsh`


@pytest.mark.parametrize("kind", [*OPENS, *HYDRAS])
def test_no_flag_says_where_they_meet(mpirun: Mpirun, script: Script, kind: str) -> None:
    pytest.importorskip("torch")
    text = MEET_IN_TORCH if kind in ("openmpi", "mpich") else MEET  # one of each family
    done = mpirun.run(kind, script(text), over=(0, 1))
    assert done.returncode == 0, done.stderr
    meeting = {"openmpi": ("n0", "PMIX_NAMESPACE"), "openmpi4": (mpirun.network.address(0), "OMPI_MCA_orte_hnp_uri")}
    at, source = meeting.get(kind, ("n0", "PMI_FD"))
    assert sorted(done.stdout.splitlines()) == [f"rank {rank} at {at}: 10" for rank in range(4)]
    assert f"main_process_ip {at} ({source})" in done.stderr
    assert done.stderr.count("accel: ") == 1


@pytest.mark.parametrize("kind", [*OPENS, *HYDRAS])
def test_one_launcher_on_each_machine_starts_its_ranks(mpirun: Mpirun, script: Script, kind: str) -> None:
    pytest.importorskip("torch")
    counts = ("--num_machines", "2", "--num_processes", "4")
    mpirun.before = ("sh", "-c", 'NCCL_ALGO=$(hostname) exec "$@"', "sh")
    if kind in ("openmpi", "mpich"):  # one of each family
        done = mpirun.run(kind, *counts, script(MEET_IN_TORCH), over=(1, 0), each=1)
        assert done.returncode == 0, done.stderr
        found = re.search(r"note: NCCL_ALGO: n(\d) on machine 0; n(?!\1)(\d) on machine 1 \(host n\2\)", done.stderr)
        assert found, done.stderr
        lines = sorted(done.stdout.splitlines())
        assert [line.partition(" at ")[0] for line in lines] == [f"rank {n}" for n in range(4)]
        assert all(line.endswith(": 10") for line in lines)
        assert "2 processes on CPU, machine 1 of 2" in done.stderr
    failed = mpirun.run(kind, *counts, script(FAILS), over=(1, 0), each=1)
    assert failed.stderr.count("cause: exit status 7\n") == 2, failed.stderr
    # Now and then Intel's mpirun ends its agents before it has read the launchers' statuses, or dies of SIGPIPE meanwhile.
    assert failed.returncode in ((7, 255, 141) if kind == "impi" else (7,)), failed.stderr


@pytest.mark.parametrize("kind", [*OPENS, *HYDRAS])
def test_mpirun_need_not_run_where_the_ranks_do(mpirun: Mpirun, script: Script, kind: str) -> None:
    done = mpirun.run(kind, script(MEET), on=2, over=(1, 0))
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"rank {rank} at n1: 10" for rank in range(4)]


@pytest.mark.parametrize(
    ("on", "options", "at"),
    [
        (1, ("--nolocal",), "n0"),  # mpirun's own, though it is one of theirs
        (0, (), ""),  # the last
    ],
)
def test_open_mpi_4_leaves_a_machine_without_ranks(
    mpirun: Mpirun, script: Script, on: int, options: tuple[str, ...], at: str
) -> None:
    mpirun.options = options
    done = mpirun.run("openmpi4", script(MEET), on=on, over=(1, 0, 2), count=4)
    assert done.returncode == 0, done.stderr
    where = at or mpirun.network.address(0)
    assert sorted(done.stdout.splitlines()) == [f"rank {rank} at {where}: 10" for rank in range(4)]


@pytest.mark.parametrize(("on", "layout"), [(0, "rankfile"), (2, "rankfile"), (0, "seq"), (0, "programs")])
def test_open_mpi_4_whose_user_says_which_rank_goes_where(
    mpirun: Mpirun, script: Script, tmp_path: Path, on: int, layout: str
) -> None:
    path, places = script(MEET), tmp_path / "places"
    if layout == "rankfile":
        places.write_text("".join(f"rank {rank}=n{1 - rank % 2} slot={rank // 2}\n" for rank in range(4)))
        mpirun.options = ("--rankfile", str(places))
        done = mpirun.run("openmpi4", path, over=(0, 1), on=on)
    elif layout == "seq":
        mpirun.options = ("--map-by", "seq")
        done = mpirun.run("openmpi4", path, over=(1, 0, 0, 1), count=4, on=on)
    else:
        program = (BIN / "accelerate", "launch", "--cpu", path)
        mpirun.options = ("-n", "2", "--host", "n1:2", *map(str, program), ":", "--host", "n0:2")
        done = mpirun.run("openmpi4", path, over=(), count=2, on=on)
    assert done.returncode == 0, done.stderr
    ranks = [line.partition(" at ") for line in sorted(done.stdout.splitlines())]
    assert [(rank, where.partition(": ")[2]) for rank, _, where in ranks] == [(f"rank {n}", "10") for n in range(4)]
    assert {where.partition(": ")[0] for _rank, _, where in ranks} <= {"n1", mpirun.network.address(1)}
    assert "main_process_ip n1 (OMPI_MCA_orte_node_regex)" in done.stderr


def test_open_mpi_4_placed_by_its_user_may_be_told_where(mpirun: Mpirun, script: Script, tmp_path: Path) -> None:
    places = tmp_path / "ranks"
    places.write_text("".join(f"rank {rank}=n{1 - rank % 2} slot={rank // 2}\n" for rank in range(4)))
    mpirun.options = ("--rankfile", str(places))
    done = mpirun.run("openmpi4", "--main_process_ip", "n1", script(MEET), over=(0, 1))
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"rank {rank} at n1: 10" for rank in range(4)]


def test_open_mpi_4_over_ipv6_alone(mpirun: Mpirun, script: Script) -> None:
    network = mpirun.network
    for n in range(network.count):
        network.hosts(n, "".join(f"{network.address(m, version=6)} n{m}\n" for m in range(network.count)))
    with network.ipv6_alone():
        done = mpirun.run("openmpi4", script(MEET), over=(0, 1))
    assert done.returncode == 0, done.stderr
    at = network.address(0, version=6)
    assert sorted(done.stdout.splitlines()) == [f"rank {rank} at {at}: 10" for rank in range(4)]


@pytest.mark.parametrize(("on", "prefix"), [(0, "MV2"), (1, "MV2"), (2, "MVP")])
def test_mvapich_is_asked_whose_daemon_has_called(mpirun: Mpirun, script: Script, on: int, prefix: str) -> None:
    mpirun.environ["TEST_MVAPICH"] = prefix
    done = mpirun.run(MVAPICH, script(MEET), on=on, over=(0, 1))
    assert done.returncode == 0, done.stderr
    at = ["n0", "n0", mpirun.network.address(0), mpirun.network.address(0)]
    assert sorted(done.stdout.splitlines()) == [f"rank {rank} at {at[rank]}: 10" for rank in range(4)]
    assert "main_process_ip n0 (MPISPAWN_ID)" in done.stderr


@pytest.mark.parametrize("listed", ["", "list"])
def test_of_many_machines_mvapich_lists_all(mpirun: Mpirun, script: Script, tmp_path: Path, listed: str) -> None:
    mpirun.environ |= {"MV2_FASTSSH_THRESHOLD": "1", "TEST_HOST_LIST_FILE": listed and str(tmp_path / listed)}
    done = mpirun.run(MVAPICH, script(MEET), on=2, over=(1, 0))
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"rank {rank} at n1: 10" for rank in range(4)]
    assert f"main_process_ip n1 ({'HOST_LIST_FILE' if listed else 'MPISPAWN_HOSTLIST'})" in done.stderr


@pytest.fixture
def debian(mpirun: Mpirun) -> Mpirun:
    """Machines that call themselves by their loopback, as Debian has it: gloo alone would listen there."""
    network = mpirun.network
    for n in range(network.count):
        others = "".join(f"{network.address(m)} n{m}\n" for m in range(network.count) if m != n)
        network.hosts(n, f"127.0.0.1 localhost\n127.0.1.1 n{n}\n{others}")
        network.leads_out(n)
    return mpirun


@pytest.mark.parametrize("kind", ["openmpi", "mpich"])
def test_a_machine_may_call_itself_by_its_loopback(debian: Mpirun, script: Script, kind: str) -> None:
    done = debian.run(kind, script(MEET), over=(0, 1))
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"rank {rank} at n0: 10" for rank in range(4)]
    assert "n0 (PM" in done.stderr
    assert "resolves to this machine's loopback: gloo uses eth0, the default route" in done.stderr


@pytest.mark.parametrize("kind", ["openmpi", "mpich"])
def test_so_it_may_under_an_mpirun_that_is_ours(debian: Mpirun, script: Script, kind: str) -> None:
    debian.environ |= {"PRTE_MCA_plm_ssh_agent": str(debian.agent)}
    debian.environ |= {"HYDRA_LAUNCHER": "ssh", "HYDRA_LAUNCHER_EXEC": str(debian.agent)}
    hosts = debian.folder / "ours"
    hosts.write_text("".join(f"n{n} slots=2\n" if kind == "openmpi" else f"n{n}:2\n" for n in (0, 1)))
    two = ("--num_machines", "2", "--num_processes", "4", "--main_process_port", "29500")
    done = debian.launch(kind, "--engine", "mpi", "--mpirun_hostfile", hosts, *two, script(MEET))
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"rank {rank} at n0: 10" for rank in range(4)]


@pytest.mark.parametrize("kind", [*OPENS, *HYDRAS])
def test_a_rank_that_fails_ends_those_of_the_other_machine(mpirun: Mpirun, script: Script, kind: str) -> None:
    done = mpirun.run(kind, script(FAILS), over=(0, 1))
    assert done.returncode == 7, done.stderr


@pytest.mark.parametrize("kind", ["openmpi4", *HYDRAS])
def test_a_plan_takes_leave(mpirun: Mpirun, script: Script, kind: str) -> None:
    done = mpirun.run(kind, "--dry_run", script(MEET), on=2, over=(0, 1))
    assert (done.returncode, done.stdout.count("MASTER_ADDR=n0")) == (0, 4), done.stdout + done.stderr
    assert "BAD TERMINATION" not in done.stdout + done.stderr
