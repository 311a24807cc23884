"""What started this process, and what it says of its place: Slurm, an mpirun, a training operator of Kubernetes.

Each reader is a function from an environment to a `Placement`, in a module that is imported only where its variables
are; `precedence` says what of it counts beside flags, variables and a config file.
"""

from __future__ import annotations

from accel_config import CATALOGUE, layers, resolve
from accel_config.origin import SCHEDULER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_config import Settings, Typed

    from ..host import Machine
    from .placement import Placement, Task

# Variables that give a reader away, strongest first: an mpirun inside a Slurm job is the nearer one.
READERS = (
    ("OMPI_COMM_WORLD_LOCAL_RANK", "mpi"),
    ("MPI_LOCALRANKID", "mpi"),
    ("MV2_COMM_WORLD_LOCAL_RANK", "mpi"),
    ("MVP_COMM_WORLD_LOCAL_RANK", "mpi"),
    ("SLURM_JOB_ID", "slurm"),
    ("PET_NNODES", "operators"),
    ("RANK", "operators"),
    ("MASTER_ADDR", "operators"),
)


def settle(typed: Typed, environ: Mapping[str, str], machine: Machine) -> Settings:
    """Return the settings of a launch: flags, variables, what the scheduler says, the config file.

    Raises:
        SettingError: one of them holds what can't be, or flags contradict what the scheduler has started.
    """
    found = layers(CATALOGUE, typed, environ)
    values, notes = found.values, found.notes
    if variables(environ):
        from .precedence import placement

        placed = placement(resolve(CATALOGUE, values), environ, machine)
        values, notes = (*values[:SCHEDULER], placed.values, *values[SCHEDULER:]), (*notes, *placed.notes)
    settings = resolve(CATALOGUE, values, notes)
    if settings.value("config_file").value is None and found.config_file is not None:
        settings = settings.with_file(found.config_file)
    return settings


def variables(environ: Mapping[str, str]) -> list[str]:
    """Return the variables of schedulers that are there."""
    return [name for name, _module in READERS if environ.get(name)]


def read(environ: Mapping[str, str], machine: Machine) -> Placement:
    """Return what the schedulers in ``environ`` say, the nearest first."""
    from importlib import import_module

    from .placement import Placement

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
