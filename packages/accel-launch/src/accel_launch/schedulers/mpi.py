"""mpirun: each process that it starts is one rank, which is told its number in the words of its MPI."""

from __future__ import annotations

from accel_config.record import Record

from .. import hostlist
from . import mpispawn, orte
from .placement import Placement, Task, number, port, unplaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..host import Machine
    from .placement import Told


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
    hydra: bool = False
    """Whether it is Hydra: the other ranks wait for ever when one fails, unless its parent says so, and ranks can
    tell each other something before they start."""


PMI, PMIX = "PMI_FD", "PMIX_NAMESPACE"
OPEN = Names(
    "Open MPI",
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    (PMIX, "OMPI_MCA_ess_base_jobid"),
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
    hydra=True,
)
# MVAPICH's own mpirun_rsh, up to 2.3 and since 3.0.
MVAPICH = tuple(
    Names(
        "MVAPICH",
        f"{prefix}_COMM_WORLD_RANK",
        f"{prefix}_COMM_WORLD_SIZE",
        f"{prefix}_COMM_WORLD_LOCAL_RANK",
        f"{prefix}_COMM_WORLD_LOCAL_SIZE",
        ("MPIRUN_ID",),
        mpispawn.DAEMON,
    )
    for prefix in ("MV2", "MVP")
)
KINDS = (OPEN, HYDRA, *MVAPICH)


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
    task = Task(rank, total, local_rank, local, alone and 0, alone, names.hydra)
    found = Placement(names.title).becoming(task, names.total, names.local)
    # At least so many as this machine's share says.
    found = found.taking("num_machines", -(-total // max(local, 1)), names.local)
    address, at = _alone(environ, names, machine) if alone else _together(environ, task, names, machine)
    found = found.replace(task=task.replace(met=address[1] == PMI))
    return found.taking("main_process_ip", *address).taking("main_process_port", *at)


def _alone(environ: Mapping[str, str], names: Names, machine: Machine) -> tuple[Told, Told]:
    """Return where the ranks of one machine meet."""
    at = _job(environ, names)
    if at is None:
        manager = machine.ancestor(names.manager)
        at = port(manager), names.manager if manager else names.total
    return ("127.0.0.1", names.local), at


def _together(environ: Mapping[str, str], task: Task, names: Names, machine: Machine) -> tuple[Told, Told]:
    """Return where the ranks of several machines meet: at rank 0's, wherever that is to be learnt."""
    at = _job(environ, names) or (port(0), names.total)
    if environ.get("MASTER_ADDR"):
        given = number(environ, "MASTER_PORT")
        return (environ["MASTER_ADDR"], "MASTER_ADDR"), at if given is None else (given, "MASTER_PORT")
    if names.hydra and (met := machine.met(environ, task.rank)):
        return (met[0], PMI), (port(_digest(met[1])), PMI)
    if environ.get(PMIX, "").startswith("prte") and (host := machine.first_host()):
        return (host, PMIX), at
    if names in MVAPICH and (told := mpispawn.first_host(environ, machine)):
        return told, at
    for listed in ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"):
        if (hosts := hostlist.expand(environ.get(listed, ""))) and not orte.by_hand(environ):
            return (hosts[0], listed), at
    if environ.get(orte.DAEMON):
        return orte.first_host(environ, task, machine, int(str(at[0])) + 1), at
    return mpispawn.typed(environ, task) if names in MVAPICH else _typed(environ, task), at


def _typed(environ: Mapping[str, str], task: Task) -> Told:
    """Return where the mpirun of an Open MPI 5 runs, as its run is called (``prterun-HOST-PID@1``), and who says so.

    Rank 0 mostly is there as well. It knows whether it is; where it is elsewhere, we say nothing.
    """
    manager, _, host = environ.get(PMIX, "").rpartition("-")[0].partition("-")
    # The daemon that started us: NAMESPACE.0 is mpirun itself.
    here = environ.get("PMIX_SERVER_URI2", "").partition(";")[0].endswith(".0")
    return host if manager.startswith("prte") and (task.rank > 0 or here) else None, PMIX


def _job(environ: Mapping[str, str], names: Names) -> Told | None:
    """Return a port that all ranks of this mpirun agree on, and those of another don't take; None without a name."""
    for job in names.jobs:
        if environ.get(job):
            return port(_digest(environ[job])), job
    if environ.get("SLURM_JOB_ID"):
        from .slurm import step_port

        return step_port(environ), "SLURM_JOB_ID"
    return None


def _digest(text: str) -> int:
    """Return a number made of a text, the same in every interpreter, which `hash` isn't."""
    found = 0
    for byte in text.encode():
        found = (found * 257 + byte) % 1_000_003
    return found
