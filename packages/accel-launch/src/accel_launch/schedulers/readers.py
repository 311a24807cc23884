"""Which scheduler started this process: a variable identifies each one, and a module reads its variables."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_launch.machine.probe import Probe
    from accel_launch.schedulers.placement import Placement

# Variables and the modules that read them, strongest first: an mpirun inside a Slurm job is nearer than Slurm. Each
# module has a function `read(environ, probe)` that returns a `Placement`. It is imported only if its variable is set.
READERS = (
    ("OMPI_COMM_WORLD_LOCAL_RANK", "mpi.tasks"),
    ("MPI_LOCALRANKID", "mpi.tasks"),
    ("MV2_COMM_WORLD_LOCAL_RANK", "mpi.tasks"),
    ("MVP_COMM_WORLD_LOCAL_RANK", "mpi.tasks"),
    ("SLURM_JOB_ID", "slurm"),
    ("PET_NNODES", "operators"),
    ("RANK", "operators"),
    ("MASTER_ADDR", "operators"),
)


def variables(environ: Mapping[str, str]) -> list[str]:
    """Return the schedulers' variables that are set."""
    return [name for name, _module in READERS if environ.get(name)]


def read(environ: Mapping[str, str], probe: Probe) -> Placement:
    """Return the place of this process according to the nearest scheduler that knows it."""
    from importlib import import_module

    from accel_launch.schedulers.placement import Placement

    unknown = Placement()
    for name in dict.fromkeys(module for variable, module in READERS if environ.get(variable)):
        found: Placement = import_module(f"accel_launch.schedulers.{name}").read(environ, probe)
        if found.values:
            return found
        unknown = found.with_notes(*unknown.notes)
    return unknown
