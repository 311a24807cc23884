"""Engine ``slurm``: ranks started by srun, inside a job that Slurm has granted."""

from __future__ import annotations

from accel_config.catalogue import Rendezvous
from accel_config.settings.readers import natural
from accel_launch.engines.common.wrapping import (
    binding,
    rank_command,
    refuse_slices,
    with_parent,
    with_torch_variables,
)
from accel_launch.engines.declaration import ADDRESS, RANKS, Engine
from accel_launch.planning.types import Command, Plan
from accel_launch.schedulers.placement import number
from accel_launch.schedulers.slurm import RANK_VARIABLES, job_hosts, step_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.engines.context import LaunchContext


def make(context: LaunchContext) -> Plan:
    """Plan srun over the machines of the job.

    Raises:
        AccelError: this isn't in a job, or is a task of srun itself; the job has too few machines; srun is missing.
    """
    layout = context.layout
    tasks = number(context.host.environ, "SLURM_STEP_NUM_TASKS") or 1
    if tasks > 1:
        context.findings.refuse_locally(
            f"this is one of {tasks} tasks of srun (SLURM_STEP_NUM_TASKS), and each of them would start all ranks: "
            f"leave out engine slurm ({context.settings.origin('engine')}), or the srun before this command"
        )
    program = context.host.probe.programs.find("srun")
    if program is None:
        context.findings.refuse_locally(
            "there is no srun on PATH: the engine slurm runs where Slurm's programs are installed"
        )
    hosts = _hosts(context)
    if _elsewhere(context):
        refuse_slices(context, "the job's machines")
    address, port = _meeting_point(context, hosts[0] if hosts else context.host.name)
    variables = {
        **context.variables,
        **binding(context),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "LOCAL_WORLD_SIZE": str(layout.local),
    }
    # srun's own status is the highest of its tasks', and tasks that it terminates have a higher one than the first
    # failure.
    words = with_torch_variables(RANK_VARIABLES, with_parent(context, rank_command(context)))
    command = Command((program or "srun", *_options(context), *words), variables)
    return Plan("slurm", (command,), hosted=layout.local)


def _options(context: LaunchContext) -> tuple[str, ...]:
    layout = context.layout
    # Since Slurm 22.05 a step doesn't inherit the job's cores for each task.
    cores = context.host.environ.get("SLURM_CPUS_PER_TASK")
    return (
        f"--nodes={layout.machines}",
        f"--ntasks={layout.total}",
        f"--ntasks-per-node={layout.local}",
        *((f"--cpus-per-task={cores}",) if cores else ()),
        "--kill-on-bad-exit=1",
        # A site may have turned this off (SLURM_EXPORT_ENV=NONE); then no rank would get its variables.
        "--export=ALL",
    )


def _hosts(context: LaunchContext) -> list[str]:
    environ, layout = context.host.environ, context.layout
    if not environ.get("SLURM_JOB_ID"):
        context.findings.refuse_locally(
            "the engine slurm starts ranks inside a job, and this isn't one (SLURM_JOB_ID isn't set): "
            "start it from sbatch or salloc"
        )
        return []
    hosts = job_hosts(environ)
    machines = f"num_machines is {layout.machines} ({context.settings.origin('num_machines')})"
    if len(hosts) < layout.machines:
        context.findings.refuse_locally(f"{machines}, but the job has {len(hosts)} (SLURM_JOB_NODELIST)")
    elif len(hosts) > layout.machines:
        context.findings.notes.append(f"the job has {len(hosts)} machines (SLURM_JOB_NODELIST), but {machines}")
    return hosts


def _meeting_point(context: LaunchContext, first: str) -> tuple[str, int]:
    """Return where the ranks meet: on the job's first host, at a port that no other job there uses."""
    rendezvous = context.settings[Rendezvous]
    address, port = rendezvous.main_process_ip or first, rendezvous.main_process_port
    if port:
        return address, port
    job = context.host.environ.get("SLURM_JOB_ID", "")
    # A batch script runs on the first host, where a free port can be found; on others the job's number gives one.
    if _is_here(context, first) or natural(job) is None:
        return address, context.host.probe.ports.free()
    return address, step_port(context.host.environ)


def _is_here(context: LaunchContext, host: str) -> bool:
    return context.host.name.partition(".")[0] == host.partition(".")[0]


def _elsewhere(context: LaunchContext) -> bool:
    return not all(_is_here(context, host) for host in job_hosts(context.host.environ))


def _unbound(context: LaunchContext) -> str:
    if not _elsewhere(context):
        return ""
    return "the CPUs of the job's machines aren't known here; leave it out, and srun binds ranks (SLURM_CPU_BIND)"


ENGINE = Engine(
    make,
    honors=(*RANKS, "bind", *ADDRESS),
    unbound=_unbound,
    ignores={"srun numbers the machines": ("machine_rank",)},
)
