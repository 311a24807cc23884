"""Ranks started by srun, inside a job that Slurm has granted."""

from __future__ import annotations

from .. import hostlist, target
from ..plan import Command, Plan
from ..schedulers.placement import number
from ..schedulers.slurm import step_port
from . import fleet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import Order

NAMES = {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_NTASKS", "LOCAL_RANK": "SLURM_LOCALID"}


def make(order: Order) -> Plan:
    """Plan srun over the machines of the job.

    Raises:
        AccelError: we are in no job, or it has too few machines.
    """
    laid = order.laid
    order.unused("srun starts the ranks", *fleet.AGENT, "machine_rank")
    tasks = number(order.host.environ, "SLURM_STEP_NUM_TASKS") or 1
    if tasks > 1:
        order.findings.here(
            f"this is one of {tasks} tasks of srun (SLURM_STEP_NUM_TASKS), and each of them would start all ranks: "
            f"leave out engine slurm ({order.settings.origin('engine')}), or the srun in front of this"
        )
    program = order.host.ask.program("srun")
    if program is None:
        order.findings.here("there is no srun on PATH: the engine slurm runs where Slurm's programs are installed")
    hosts = _hosts(order)
    address, port = _meeting(order, hosts[0] if hosts else order.host.name)
    variables = {
        **order.variables,
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "LOCAL_WORLD_SIZE": str(laid.local),
    }
    words = target.argv(order.settings, order.host, order.script, unbuffered=True)
    # srun ends with the highest status of all, and the ranks that it ends itself have a higher one than the first.
    words = fleet.named(NAMES, fleet.followed(order, words))
    command = Command((program or "srun", *_options(order), *words), variables)
    return Plan("slurm", (command,), hosted=laid.local)


def _options(order: Order) -> tuple[str, ...]:
    laid = order.laid
    # Since Slurm 22.05 a step doesn't take over what the job says of cores for each task.
    cores = order.host.environ.get("SLURM_CPUS_PER_TASK")
    return (
        f"--nodes={laid.machines}",
        f"--ntasks={laid.total}",
        f"--ntasks-per-node={laid.local}",
        *((f"--cpus-per-task={cores}",) if cores else ()),
        "--kill-on-bad-exit=1",
        # A site may have turned this off (SLURM_EXPORT_ENV=NONE), and then no rank would learn anything.
        "--export=ALL",
    )


def _hosts(order: Order) -> list[str]:
    environ, laid = order.host.environ, order.laid
    if not environ.get("SLURM_JOB_ID"):
        order.findings.here(
            "the engine slurm starts ranks inside a job, and this is none (SLURM_JOB_ID isn't set): "
            "start it from sbatch or salloc"
        )
        return []
    hosts = hostlist.expand(environ.get("SLURM_JOB_NODELIST") or environ.get("SLURM_NODELIST", ""))
    asked = f"num_machines is {laid.machines} ({order.settings.origin('num_machines')})"
    if len(hosts) < laid.machines:
        order.findings.here(f"{asked}, but the job has {len(hosts)} (SLURM_JOB_NODELIST)")
    elif len(hosts) > laid.machines:
        order.findings.notes.append(f"the job has {len(hosts)} machines (SLURM_JOB_NODELIST), but {asked}")
    return hosts


def _meeting(order: Order, first: str) -> tuple[str, int]:
    """Return where the ranks meet: on the job's first host, at a port that no other job on it derives."""
    from accel_config.catalogue import Rendezvous

    rendezvous = order.settings[Rendezvous]
    address, port = rendezvous.main_process_ip or first, rendezvous.main_process_port
    if port:
        return address, port
    job = order.host.environ.get("SLURM_JOB_ID", "")
    # A batch script runs on the first host, where we can look; elsewhere the job's number makes the difference.
    if order.host.name.partition(".")[0] == first.partition(".")[0] or not job.isdecimal():
        return address, order.host.ask.free_port()
    return address, step_port(order.host.environ)
