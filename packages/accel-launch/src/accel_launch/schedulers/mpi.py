"""mpirun: each process that it starts is one rank, which is told its number in the words of its MPI."""

from __future__ import annotations

from accel_config.record import Record

from .. import hostlist
from .placement import Placement, Task, number, port, unplaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..host import Machine


class Names(Record):
    """What an MPI calls torch's variables."""

    title: str
    rank: str
    total: str
    local_rank: str
    local: str
    jobs: tuple[str, ...]
    """Variables that are the same for all ranks of one mpirun, and others for another."""
    manager: str = ""
    """The program that is the parent of all ranks of a machine, where no variable tells two runs apart."""
    followed: bool = False
    """Whether the other ranks wait for ever when one fails, unless its parent says so."""


OPEN = Names(
    "Open MPI",
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"),
)
# The process manager of Intel MPI, MPICH and MVAPICH.
HYDRA = Names(
    "Hydra",
    "PMI_RANK",
    "PMI_SIZE",
    "MPI_LOCALRANKID",
    "MPI_LOCALNRANKS",
    ("I_MPI_HYDRA_UUID",),
    "hydra_pmi_proxy",
    followed=True,
)
# MVAPICH's own mpirun_rsh.
MVAPICH = Names(
    "MVAPICH",
    "MV2_COMM_WORLD_RANK",
    "MV2_COMM_WORLD_SIZE",
    "MV2_COMM_WORLD_LOCAL_RANK",
    "MV2_COMM_WORLD_LOCAL_SIZE",
    ("MPIRUN_ID",),
    "mpispawn",
)
KINDS = (OPEN, HYDRA, MVAPICH)


def read(environ: Mapping[str, str], machine: Machine) -> Placement:
    """Return the rank that this process is to become."""
    names = next(one for one in KINDS if one.local_rank in environ)
    rank, total = number(environ, names.rank), number(environ, names.total)
    local_rank, local = number(environ, names.local_rank), number(environ, names.local)
    if rank is None or total is None or local_rank is None or local is None:
        wanted = ", ".join((names.rank, names.total, names.local_rank, names.local))
        return unplaced(
            names.title, f"{names.title} doesn't say which of its ranks this is: of {wanted} some are missing"
        )
    alone = 1 if total == local else None  # on how many machines, MPI doesn't tell
    task = Task(rank, total, local_rank, local, alone and 0, alone, names.followed)
    found = Placement(names.title).becoming(task, names.total, names.local)
    # At least so many as this machine's share says.
    found = found.taking("num_machines", -(-total // max(local, 1)), names.local)
    found = found.taking("main_process_ip", *_address(environ, task, names))
    return found.taking("main_process_port", *_port(environ, task, names, machine))


def _address(environ: Mapping[str, str], task: Task, names: Names) -> tuple[str | None, str]:
    """Return the host of rank 0 and who says so: MPI tells nobody, but Slurm does where it runs inside a job."""
    if task.total == task.local:
        return "127.0.0.1", names.local
    if environ.get("MASTER_ADDR"):
        return environ["MASTER_ADDR"], "MASTER_ADDR"
    for listed in ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"):
        if hosts := hostlist.expand(environ.get(listed, "")):
            return hosts[0], listed
    return None, names.total


def _port(environ: Mapping[str, str], task: Task, names: Names, machine: Machine) -> tuple[int, str]:
    """Return a port that all ranks of this mpirun agree on, and those of another don't take."""
    given = number(environ, "MASTER_PORT")
    if given is not None and environ.get("MASTER_ADDR") and task.total != task.local:
        return given, "MASTER_PORT"
    for job in names.jobs:
        if environ.get(job):
            return port(_digest(environ[job])), job
    if environ.get("SLURM_JOB_ID"):
        from .slurm import step_port

        return step_port(environ), "SLURM_JOB_ID"
    manager = machine.ancestor(names.manager) if task.total == task.local else 0
    return port(manager), names.manager if manager else names.total


def _digest(text: str) -> int:
    """Return a number made of a text, the same in every interpreter, which `hash` isn't."""
    found = 0
    for byte in text.encode():
        found = (found * 257 + byte) % 1_000_003
    return found
