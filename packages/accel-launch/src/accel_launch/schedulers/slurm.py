"""Slurm: the place of this process in a step, a batch script or an allocation."""

from __future__ import annotations

from accel_config.settings.readers import natural
from accel_launch.ranks.signals import started_step
from accel_launch.schedulers import hostlist
from accel_launch.schedulers.placement import Placement, Sourced, Task, ignored, number, port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_launch.machine.probe import Probe

TITLE = "Slurm"
# The distance between the ports of two steps of a job, so that they don't take the ports of the next jobs.
STRIDE = 4099
# Torch's variables, each with the one by which srun numbers its tasks.
RANK_VARIABLES = {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_NTASKS", "LOCAL_RANK": "SLURM_LOCALID"}
START = "start it on each with `srun accelerate launch`, or once with `--engine slurm`"


def read(environ: Mapping[str, str], _probe: Probe) -> Placement:
    """Return the place of this process among the tasks of its step; outside a step, only notes."""
    if not _in_step(environ):
        return ignored(TITLE, *_outside(environ))
    machines, tasks = number(environ, "SLURM_STEP_NUM_NODES"), number(environ, "SLURM_STEP_NUM_TASKS")
    machine = number(environ, "SLURM_NODEID")
    if machines is None or tasks is None or machine is None or machine >= machines:
        return ignored(
            TITLE,
            "SLURM_STEP_NUM_NODES, SLURM_STEP_NUM_TASKS and SLURM_NODEID don't identify this machine in Slurm's "
            "step: the step has no effect",
        )
    found = Placement(TITLE).with_setting("num_machines", machines, "SLURM_STEP_NUM_NODES")
    found = found.with_setting("machine_rank", machine, "SLURM_NODEID")
    if tasks > machines:
        return _rank(environ, found, machines, machine, tasks)
    if machines == 1:
        return found.with_notes(*_interactive(environ))
    run = f"slurm-{environ['SLURM_JOB_ID']}.{environ['SLURM_STEP_ID']}"
    return _meeting(environ, found.with_setting("run_id", run, "SLURM_JOB_ID"), machines)


def _in_step(environ: Mapping[str, str]) -> bool:
    """Return whether a step of this very job started us.

    A job that is submitted from inside a step inherits the variables of that step and replaces only those of the job.
    It is recognized by machines that aren't the job's, or by other numbers of tasks.
    """
    if number(environ, "SLURM_STEP_ID") is None:
        return False
    if (job := job_hosts(environ)) and not set(job).issuperset(_hosts(environ)):
        return False
    shares = environ.get("SLURM_TASKS_PER_NODE"), environ.get("SLURM_STEP_TASKS_PER_NODE")
    return not started_step(environ) or None in shares or shares[0] == shares[1]


def _outside(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Note what a process outside the steps of its job leaves unused."""
    start = START
    nodes = number(environ, "SLURM_JOB_NUM_NODES") or number(environ, "SLURM_NNODES") or 1
    hosts, variable, counted = environ.get("SLURM_JOB_NODELIST", ""), "SLURM_JOB_NODELIST", "SLURM_JOB_NUM_NODES"
    if groups := _groups(environ):
        hosts, variable = ",".join(groups), "SLURM_JOB_NODELIST_HET_GROUP_*"
        counted = variable
        nodes = len(hostlist.expand(hosts, variable))
        start = f"start it on each with `srun --het-group=0-{len(groups) - 1} accelerate launch`"
    if "SLURM_PROCID" not in environ:  # salloc's shell, which stays where salloc was called
        place = f"this runs where salloc was called, not on the job's machines ({hosts}, {variable})"
    elif nodes > 1:
        place = f"this is one process on one machine, but the job has {nodes} ({counted}: {hosts})"
    else:
        return ()
    return (f"{place}: {start}",)


def _groups(environ: Mapping[str, str]) -> list[str]:
    """Return the machines of each component of a heterogeneous job; none for a job submitted from inside another.

    A step of several components is simple: Slurm numbers its machines and tasks across the components, and gives it
    the job number of the first one.
    """
    found: list[str] = []
    if environ.get("SLURM_JOB_ID") == environ.get("SLURM_JOB_ID_HET_GROUP_0"):
        while group := environ.get(f"SLURM_JOB_NODELIST_HET_GROUP_{len(found)}"):
            found.append(group)
    return found


def _interactive(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Note what an interactive step leaves unused of its job."""
    return () if started_step(environ) else _outside(environ)


def _rank(environ: Mapping[str, str], found: Placement, machines: int, machine: int, tasks: int) -> Placement:
    """Return the place of a task that is one rank, in a step with several tasks on a machine."""
    rank, local_rank = number(environ, "SLURM_PROCID"), number(environ, "SLURM_LOCALID")
    shares = _counts(environ.get("SLURM_STEP_TASKS_PER_NODE", ""))
    if rank is None or local_rank is None or len(shares) != machines or sum(shares) != tasks:
        return ignored(
            TITLE,
            "SLURM_PROCID, SLURM_LOCALID and SLURM_STEP_TASKS_PER_NODE don't identify this task in Slurm's step: "
            "the step has no effect",
        )
    task = Task(rank, tasks, local_rank, shares[machine], machine, machines)
    found = found.with_task(task, "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE")
    return _meeting(environ, found, machines)


def _meeting(environ: Mapping[str, str], found: Placement, machines: int) -> Placement:
    hosts = ["127.0.0.1"] if machines == 1 else _hosts(environ)
    if not hosts:
        return ignored(TITLE, "SLURM_STEP_NODELIST doesn't name the machines of Slurm's step: the step has no effect")
    host, at = Sourced(hosts[0], "SLURM_STEP_NODELIST"), Sourced(step_port(environ), "SLURM_JOB_ID")
    return found.with_address(host, at)


def job_hosts(environ: Mapping[str, str]) -> list[str]:
    """Return the machines of the job.

    Raises:
        AccelError: the variable isn't a list of hosts.
    """
    variable = "SLURM_JOB_NODELIST" if environ.get("SLURM_JOB_NODELIST") else "SLURM_NODELIST"
    return hostlist.expand(environ.get(variable, ""), variable)


def _hosts(environ: Mapping[str, str]) -> list[str]:
    """Return the machines of the step."""
    return hostlist.expand(environ.get("SLURM_STEP_NODELIST", ""), "SLURM_STEP_NODELIST")


def step_port(environ: Mapping[str, str]) -> int:
    """Return the port of this step: the same on each of its machines, another one for other jobs and steps."""
    step = number(environ, "SLURM_STEP_ID") or 0
    return port((number(environ, "SLURM_JOB_ID") or 0) + STRIDE * (step if started_step(environ) else 0))


def _counts(text: str) -> list[int]:
    """Return the number of tasks of each machine, as in ``2(x3),1``; empty if the text isn't valid."""
    found: list[int] = []
    for part in text.split(","):
        count, _, times = part.partition("(x")
        tasks, repeated = natural(count), natural(times.rstrip(")")) if times else 1
        if tasks is None or repeated is None or len(found) + repeated > hostlist.MOST:
            return []
        found += [tasks] * repeated
    return found
