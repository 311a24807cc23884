"""Slurm: what a step, a batch script or an allocation tells the processes that it starts."""

from __future__ import annotations

from .. import hostlist
from .placement import Placement, Task, number, port, unplaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..host import Machine

TITLE = "Slurm"
# Steps that Slurm starts by itself have numbers from here on: an interactive one (salloc's shell) is such.
OWN_STEPS = 0xFFFF_FFF0
# Steps of one job are told apart without taking the ports of the jobs after it.
STRIDE = 4099
START = "start it on each with `srun accelerate launch`, or once with `--engine slurm`"


def read(environ: Mapping[str, str], _machine: Machine) -> Placement:
    """Return the place of this process among the tasks of its step; outside a step only what there is to know."""
    if not _in_step(environ):
        return unplaced(TITLE, *_outside(environ))
    machines, tasks = number(environ, "SLURM_STEP_NUM_NODES"), number(environ, "SLURM_STEP_NUM_TASKS")
    machine = number(environ, "SLURM_NODEID")
    if machines is None or tasks is None or machine is None or machine >= machines:
        return unplaced(
            TITLE,
            "Slurm's step doesn't say how many machines and tasks it has and which this is (SLURM_STEP_NUM_NODES, "
            "SLURM_STEP_NUM_TASKS, SLURM_NODEID): nothing is taken from it",
        )
    found = Placement(TITLE).taking("num_machines", machines, "SLURM_STEP_NUM_NODES")
    found = found.taking("machine_rank", machine, "SLURM_NODEID")
    if tasks > machines:
        return _rank(environ, found, machines, machine, tasks)
    if machines == 1:
        return found.noting(*_interactive(environ))
    run = f"slurm-{environ['SLURM_JOB_ID']}.{environ['SLURM_STEP_ID']}"
    return _meeting(environ, found.taking("run_id", run, "SLURM_JOB_ID"), _hosts(environ)[0])


def _in_step(environ: Mapping[str, str]) -> bool:
    """Whether a step of this very job started us.

    A job that is submitted from inside a step of another one inherits that one's variables, of which it replaces only
    its own. Other machines, or another share of tasks, betray them.
    """
    if number(environ, "SLURM_STEP_ID") is None:
        return False
    job = hostlist.expand(environ.get("SLURM_JOB_NODELIST") or environ.get("SLURM_NODELIST", ""))
    if job and not set(job).issuperset(_hosts(environ)):
        return False
    shares = environ.get("SLURM_TASKS_PER_NODE"), environ.get("SLURM_STEP_TASKS_PER_NODE")
    return not started_step(environ) or None in shares or shares[0] == shares[1]


def _outside(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Say who we are in a job outside its steps, where that isn't all of the job."""
    start = START
    nodes = number(environ, "SLURM_JOB_NUM_NODES") or number(environ, "SLURM_NNODES") or 1
    where, told, counted = environ.get("SLURM_JOB_NODELIST", ""), "SLURM_JOB_NODELIST", "SLURM_JOB_NUM_NODES"
    if groups := _groups(environ):
        where, told = ",".join(groups), "SLURM_JOB_NODELIST_HET_GROUP_*"
        counted = told
        nodes = len(hostlist.expand(where))
        start = f"start it on each with `srun --het-group=0-{len(groups) - 1} accelerate launch`"
    if "SLURM_PROCID" not in environ:  # salloc's shell, which stays where salloc was called
        here = f"this runs where salloc was called, not on the job's machines ({where}, {told})"
    elif nodes > 1:
        here = f"this is one process on one machine, though the job has {nodes} ({counted}: {where})"
    else:
        return ()
    return (f"{here}: {start}",)


def _groups(environ: Mapping[str, str]) -> list[str]:
    """Return the machines of each component of a heterogeneous job; none of another one, submitted from inside such.

    A step of several components needs no care: Slurm counts its machines and tasks throughout, and calls it a step of
    the first one's job.
    """
    found: list[str] = []
    if environ.get("SLURM_JOB_ID") == environ.get("SLURM_JOB_ID_HET_GROUP_0"):
        while group := environ.get(f"SLURM_JOB_NODELIST_HET_GROUP_{len(found)}"):
            found.append(group)
    return found


def _interactive(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Say what an interactive step leaves unused of its job."""
    return () if started_step(environ) else _outside(environ)


def _rank(environ: Mapping[str, str], found: Placement, machines: int, machine: int, tasks: int) -> Placement:
    """Return the place of a task that is one rank: several tasks share a machine."""
    rank, local_rank = number(environ, "SLURM_PROCID"), number(environ, "SLURM_LOCALID")
    shares = _counts(environ.get("SLURM_STEP_TASKS_PER_NODE", ""))
    if rank is None or local_rank is None or len(shares) != machines or sum(shares) != tasks:
        return unplaced(
            TITLE,
            "Slurm's step doesn't say which of its tasks this is (SLURM_PROCID, SLURM_LOCALID, "
            "SLURM_STEP_TASKS_PER_NODE): nothing is taken from it",
        )
    task = Task(rank, tasks, local_rank, shares[machine], machine, machines)
    found = found.becoming(task, "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE")
    return _meeting(environ, found, "127.0.0.1" if machines == 1 else _hosts(environ)[0])


def _meeting(environ: Mapping[str, str], found: Placement, address: str) -> Placement:
    found = found.taking("main_process_ip", address, "SLURM_STEP_NODELIST")
    return found.taking("main_process_port", step_port(environ), "SLURM_JOB_ID")


def _hosts(environ: Mapping[str, str]) -> list[str]:
    """Return the machines of the step."""
    return hostlist.expand(environ.get("SLURM_STEP_NODELIST", "")) or [environ.get("SLURMD_NODENAME", "127.0.0.1")]


def step_port(environ: Mapping[str, str]) -> int:
    """Return the port of this step, the same on each of its machines and another for other jobs and steps."""
    step = number(environ, "SLURM_STEP_ID") or 0
    return port((number(environ, "SLURM_JOB_ID") or 0) + STRIDE * (step if started_step(environ) else 0))


def started_step(environ: Mapping[str, str]) -> bool:
    """Whether somebody's srun started the step that this runs in, rather than Slurm itself."""
    step = number(environ, "SLURM_STEP_ID")
    return step is not None and step < OWN_STEPS


def _counts(text: str) -> list[int]:
    """Read ``2(x3),1``: tasks of each machine, in order."""
    found: list[int] = []
    for part in text.split(","):
        count, _, times = part.partition("(x")
        repeated = times.rstrip(")") if times else "1"
        if not count.isdecimal() or not repeated.isdecimal():
            return []
        found += [int(count)] * int(repeated)
    return found
