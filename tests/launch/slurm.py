"""A real Slurm with two nodes on this machine, in its own network namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

CONF = """
ClusterName=t
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={0}/run/munge.sock
CredType=cred/munge
StateSaveLocation={0}/state
SlurmdSpoolDir={0}/spool/%n
SlurmctldPidFile={0}/run/ctld.pid
SlurmdPidFile={0}/run/%n.pid
SlurmctldLogFile={0}/log/ctld.log
SlurmdLogFile={0}/log/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/linear
MpiDefault=none
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
NodeName=n[1-2] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[16821-16822] CPUs=2 RealMemory=500 State=UNKNOWN
PartitionName=p Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:8
"""
PROGRAMS = ("slurmctld", "slurmd", "srun", "scontrol", "munged", "ip")
ADDRESS = "10.77.0.1"


class Slurm:
    """A running cluster; its nodes n1 and n2 are this machine, and its network has their names."""

    def __init__(self, within: tuple[str, ...]) -> None:
        self.within = within

    def run(
        self, *words: object, environ: Mapping[str, str], cwd: Path, timeout: float = 100
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as on a login node."""
        return subprocess.run(
            [*self.within, *map(str, words)], env=environ, cwd=cwd, capture_output=True, text=True, timeout=timeout
        )

    def salloc(self, *words: object, environ: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a command in an allocation of both nodes."""
        return self.run("salloc", "-Q", "-N2", "--overcommit", *words, environ=environ, cwd=cwd)

    def state(self, job: str, environ: Mapping[str, str]) -> str:
        """What Slurm reports about a job."""
        return self.run("scontrol", "show", "job", job, environ=environ, cwd=Path("/")).stdout


@contextmanager
def started(folder: Path) -> Generator[Slurm]:
    """Start a Slurm whose files are in ``folder``, and stop it at the end; skip the test if that isn't possible."""
    missing = [name for name in PROGRAMS if _program(name) is None]
    if missing:
        pytest.skip(
            f"Slurm isn't installed ({', '.join(missing)} missing): Debian's slurmctld slurmd slurm-client munge"
        )
    if os.geteuid() != 0:
        pytest.skip("a Slurm of our own in a network of its own needs root")
    with network({"n1": ADDRESS, "n2": ADDRESS}) as space:
        _configure(folder)
        within = (*space, "env", f"SLURM_CONF={folder}/slurm.conf")
        try:
            for words in _daemons(folder):
                subprocess.run([*within, *map(str, words)], check=True, timeout=30)
            _until_idle(within)
            yield Slurm(within)
        finally:
            for file in sorted((folder / "run").glob("*.pid")):
                _end(int(file.read_text()))


@contextmanager
def network(names: Mapping[str, str]) -> Generator[tuple[str, ...]]:
    """Make a network with one address to which ``names`` resolve; yield the words that run a command in it."""
    space = f"accel{os.getpid()}-{len(names)}"
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a network of its own needs root and the program ip (Debian's iproute2)")
    made = subprocess.run(["ip", "netns", "add", space], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no network namespace can be made here: {made.stderr.strip()}")
    own = Path("/etc/netns") / space  # files here replace those of the same name in /etc
    try:
        own.mkdir(parents=True)
        known = Path("/etc/hosts").read_text()
        (own / "hosts").write_text(known + "".join(f"{address} {name}\n" for name, address in names.items()))
        # Without an address no name resolves there.
        for words in (("link", "set", "lo", "up"), ("addr", "add", f"{ADDRESS}/24", "dev", "lo")):
            done = subprocess.run(["ip", "-n", space, *words], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"no network can be made here: {done.stderr.strip()}")
        yield ("ip", "netns", "exec", space)
    finally:
        shutil.rmtree(own)
        subprocess.run(["ip", "netns", "delete", space], check=True)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _configure(folder: Path) -> None:
    for name in ("run", "spool", "state", "log"):
        (folder / name).mkdir()
    (folder / "slurm.conf").write_text(CONF.format(folder))
    (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o400)


def _daemons(folder: Path) -> list[list[object]]:
    run = folder / "run"
    munged = [_program("munged"), f"--key-file={folder}/key", f"--socket={run}/munge.sock", "--force"]
    munged += [f"--pid-file={run}/munged.pid", f"--log-file={folder}/log/munged.log", f"--seed-file={run}/seed"]
    ctld = [_program("slurmctld"), "-c", "-f", f"{folder}/slurm.conf"]
    nodes = [[_program("slurmd"), "-N", node, "-f", f"{folder}/slurm.conf"] for node in ("n1", "n2")]
    return [[*munged], [*ctld], *([*node] for node in nodes)]


def _until_idle(within: tuple[str, ...]) -> None:
    end = time.monotonic() + 30
    while True:
        state = subprocess.run([*within, "sinfo", "-h", "-o", "%T %D"], capture_output=True, text=True).stdout
        if state.split() == ["idle", "2"]:
            return
        assert time.monotonic() < end, state
        time.sleep(0.2)


def _end(pid: int) -> None:
    daemon = psutil.Process(pid)
    daemon.terminate()
    end = time.monotonic() + 10
    # The process that adopted it may not collect it.
    while daemon.is_running() and daemon.status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
        time.sleep(0.05)
