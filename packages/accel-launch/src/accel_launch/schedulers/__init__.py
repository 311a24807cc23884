"""What started this process, and what it says of its place: Slurm, an mpirun, a training operator of Kubernetes.

Each reader is a function from an environment to a `Placement`, in a module that is imported only where its variables
are; `precedence` lays what they find between the settings of variables and those of the config file.
"""

from __future__ import annotations

from accel_config.origin import SCHEDULER

from .placement import Placement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_config import Settings

    from ..host import Machine
    from .placement import Task

# Variables that give a reader away, strongest first: an mpirun inside a Slurm job is the nearer one.
READERS = (
    ("OMPI_COMM_WORLD_LOCAL_RANK", "mpi"),
    ("MPI_LOCALRANKID", "mpi"),
    ("MV2_COMM_WORLD_LOCAL_RANK", "mpi"),
    ("SLURM_JOB_ID", "slurm"),
    ("PET_NNODES", "operators"),
    ("RANK", "operators"),
    ("MASTER_ADDR", "operators"),
)


def read(environ: Mapping[str, str], machine: Machine) -> Placement:
    """Return what the schedulers in ``environ`` say, the nearest first."""
    from importlib import import_module

    silent = Placement()
    for name in dict.fromkeys(module for variable, module in READERS if environ.get(variable)):
        found: Placement = import_module(f"{__name__}.{name}").read(environ, machine)
        if found.values:
            return found
        silent = found.noting(*silent.notes)
    return silent


def task(settings: Settings, environ: Mapping[str, str], machine: Machine) -> Task | None:
    """Return the rank that this process is to become, where `settle` found it to be one."""
    taken = settings.value("engine").origin.layer == SCHEDULER
    return read(environ, machine).task if taken else None
