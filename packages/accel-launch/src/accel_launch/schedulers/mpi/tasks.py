"""mpirun: each process that it starts is one rank, with variables that its family of MPI names."""

from __future__ import annotations

import os

from accel_launch.schedulers import hostlist
from accel_launch.schedulers.mpi import mpispawn, orte
from accel_launch.schedulers.mpi.families import FAMILIES, HYDRA, MVAPICH
from accel_launch.schedulers.placement import Placement, Sourced, Task, ignored, number, port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_launch.machine.probe import Probe
    from accel_launch.schedulers.mpi.families import Family

PMI, PMIX = "PMI_FD", "PMIX_NAMESPACE"


def read(environ: Mapping[str, str], probe: Probe) -> Placement:
    """Return the rank that this process becomes."""
    family = next(family for family in FAMILIES if family.local_rank in environ)
    rank, total = number(environ, family.rank), number(environ, family.total)
    local_rank, local = number(environ, family.local_rank), number(environ, family.local)
    if rank is None or total is None or local_rank is None or local is None:
        wanted = ", ".join((family.rank, family.total, family.local_rank, family.local))
        return ignored(family.title, f"{family.title} has no effect: not all of {wanted} are set to numbers")
    if not (rank < total and local_rank < local <= total):
        return ignored(
            family.title,
            f"{family.title} has no effect: rank {rank} of {total} ({family.rank}, {family.total}) can't be rank "
            f"{local_rank} of {local} on its machine ({family.local_rank}, {family.local})",
        )
    machines = 1 if total == local else None  # MPI has no variable for the number of machines
    task = Task(
        *(rank, total, local_rank, local, None if machines is None else 0, machines),
        followed=family is HYDRA,
        rank_variable=family.rank,
    )
    host, at = _local(environ, family, probe) if machines else _distributed(environ, task, family, probe)
    task = task.replace(met=host is not None and host.variable == PMI)
    found = Placement(family.title).with_task(task, family.total, family.local)
    # At least as many machines as the number of ranks on this one requires.
    return found.with_setting("num_machines", -(-total // max(local, 1)), family.local).with_address(host, at)


def _local(environ: Mapping[str, str], family: Family, probe: Probe) -> tuple[Sourced, Sourced]:
    """Return the address and port where the ranks of one machine meet."""
    at = _job(environ, family)
    if at is None:
        manager = probe.ancestors.nearest(family.manager)
        at = port(manager), family.manager if manager else family.total
    return Sourced("127.0.0.1", family.local), Sourced(*at)


def _distributed(
    environ: Mapping[str, str], task: Task, family: Family, probe: Probe
) -> tuple[Sourced | None, Sourced]:
    """Return the address and port where the ranks of several machines meet: on the host of rank 0, if it is known."""
    job = _job(environ, family) or (port(0), family.total)
    at = Sourced(*job)
    if environ.get("MASTER_ADDR"):
        given = number(environ, "MASTER_PORT")
        return Sourced(environ["MASTER_ADDR"], "MASTER_ADDR"), at if given is None else Sourced(given, "MASTER_PORT")
    if family is HYDRA and (met := probe.mpi.meet(environ, task.rank)):
        return Sourced(met[0], PMI), Sourced(port(_digest(met[1])), PMI)
    if environ.get(PMIX, "").startswith("prte") and (name := probe.mpi.first_host()):
        return Sourced(name, PMIX), at
    if family in MVAPICH and (host := mpispawn.first_host(environ, probe)):
        return host, at
    for variable in ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"):
        if (hosts := hostlist.expand(environ.get(variable, ""), variable)) and not orte.placed_by_user(environ):
            return Sourced(hosts[0], variable), at
    if environ.get(orte.DAEMON):
        return orte.first_host(environ, task, probe, job[0] + 1), at
    return mpispawn.submit_host(environ, task) if family in MVAPICH else _prte_host(environ, task), at


def _prte_host(environ: Mapping[str, str], task: Task) -> Sourced | None:
    """Return the host of the mpirun of an Open MPI 5, from the name of its run (``prterun-HOST-PID@1``).

    Usually rank 0 is on that host. Rank 0 knows whether it is; if it isn't, it gets no address.
    """
    manager, _, host = environ.get(PMIX, "").rpartition("-")[0].partition("-")
    # The daemon that started this rank: NAMESPACE.0 is mpirun itself.
    by_mpirun = environ.get("PMIX_SERVER_URI2", "").partition(";")[0].endswith(".0")
    return Sourced(host, PMIX) if manager.startswith("prte") and (task.rank > 0 or by_mpirun) else None


def _job(environ: Mapping[str, str], family: Family) -> tuple[int, str] | None:
    """Return the port of this mpirun and its variable; None without a name of the job.

    All ranks of the job derive the same port from its name, and other jobs another one.
    """
    for job in family.jobs:
        if environ.get(job):
            return port(_digest(environ[job])), job
    if environ.get("SLURM_JOB_ID"):
        from accel_launch.schedulers.slurm import step_port

        return step_port(environ), "SLURM_JOB_ID"
    return None


def _digest(text: str) -> int:
    """Return a number for a text, the same in every interpreter (unlike `hash`)."""
    found = 0
    for byte in os.fsencode(text):
        found = (found * 257 + byte) % 1_000_003
    return found
