"""mpirun: each process that it starts is one rank, which is told its number in the words of its MPI."""

from __future__ import annotations

import os

from accel_config.record import Record

from .. import hostlist
from .placement import Placement, Task, number, port, unplaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..host import Machine

    Told = tuple[object, str]  # a value, and the variable that tells it


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


PMI, PMIX, DAEMON, SPAWNER = "PMI_FD", "PMIX_NAMESPACE", "OMPI_MCA_orte_hnp_uri", "MPISPAWN_MPIRUN_HOST"
NODES = "OMPI_MCA_orte_node_regex"  # mpirun's own first, whether ranks run there or not
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
    for listed in ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"):
        if hosts := hostlist.expand(environ.get(listed, "")):
            return (hosts[0], listed), at
    if environ.get(DAEMON):
        return _open_4(environ, task, machine, int(str(at[0])) + 1), at
    return _mpirun(environ, task), at


def _mpirun(environ: Mapping[str, str], task: Task) -> Told:
    """Return the host where mpirun runs, where rank 0 mostly is as well, and which variable says so.

    That all ranks are told; rank 0 knows whether it is there, and we say nothing where it is elsewhere. Open MPI 5
    has the name in its run's (``prterun-HOST-PID@1``), and MVAPICH's mpirun_rsh calls it by its own name.
    """
    if host := environ.get(SPAWNER):
        return host if task.rank > 0 or host == os.uname().nodename else None, SPAWNER
    manager, _, host = environ.get(PMIX, "").rpartition("-")[0].partition("-")
    # The daemon that started us: NAMESPACE.0 is mpirun itself.
    here = environ.get("PMIX_SERVER_URI2", "").partition(";")[0].endswith(".0")
    return host if manager.startswith("prte") and (task.rank > 0 or here) else None, PMIX


def _open_4(environ: Mapping[str, str], task: Task, machine: Machine, port: int) -> Told:
    """Return where rank 0 of an Open MPI 4 is, and which variable says so.

    Ranks are given to mpirun's own machine first, if it is one of theirs; so rank 0 is there, or none is. Those that
    another daemon has started are told all machines, and how many have ranks: if not all, mpirun's may be the one
    without, and rank 0 is asked, at ``port``. Where the user has placed the ranks otherwise, we say nothing.
    """
    uri, own = environ[DAEMON], environ.get("OMPI_MCA_orte_local_daemon_uri", "")
    typed = _addresses(uri)
    nodes = tuple(hostlist.expand(environ.get(NODES, "").partition("@")[0]))
    some = len(nodes) > (number(environ, "OMPI_MCA_orte_num_nodes") or len(nodes))
    if own == uri:
        if task.rank == 0 and (number(environ, "OMPI_UNIVERSE_SIZE") or 0) > task.total:  # a machine may be without
            machine.herald(port, uri, task.total - task.local)
        return (typed[0][0] if typed and (task.rank == 0 or task.local_rank > 0) else None), DAEMON
    if task.rank == 0:
        place = own.partition(";")[0].rpartition(".")[2]  # JOB.PLACE;tcp://…
        there = some and place.isdecimal() and int(place) < len(nodes) and machine.herald(port, uri, task.total - 1)
        return (nodes[int(place)], NODES) if there else (None, DAEMON)
    if some and (host := machine.heard((*(host for host, _at in typed), *nodes[1:]), port, uri)):
        return host, NODES if host in nodes else DAEMON
    if typed[1:]:
        typed = [one for one in typed if machine.answers(*one)]
    return (typed[0][0] if typed else None), DAEMON


def _addresses(uri: str) -> list[tuple[str, int]]:
    """Return the addresses of a daemon's host, each with its port.

    Such a name is ``JOB.0;tcp://10.0.0.1,172.17.0.1:PORT;tcp6://…``.
    """
    ways = [way.removeprefix("tcp://").rpartition(":") for way in uri.split(";") if way.startswith("tcp://")]
    return [(host, int(at)) for hosts, _, at in ways if at.isdecimal() for host in hosts.split(",")]


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
