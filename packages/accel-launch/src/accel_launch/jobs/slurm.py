"""A batch script for Slurm's sbatch: one task on each machine, which starts the ranks of that machine."""

from __future__ import annotations

from accel_config.catalogue import Scheduler
from accel_config.errors import AccelError
from accel_config.showing.wording import describe
from accel_launch.jobs import limits
from accel_launch.planning.quoting import assignment, quote
from accel_launch.running.process import CARRIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.jobs.job import Job
    from accel_launch.machine.host import Host

# The letters of an option's name.
NAME = frozenset("abcdefghijklmnopqrstuvwxyz-")
# Bash runs a trap only between commands, so the script waits for the step in the background. A signal ends `wait`
# with a status above 128 while the step goes on. Slurm itself sends SIGTERM to the step. A second SIGTERM would end
# the run at once, and the step would end with a shell that dies of it.
BODY = """\
# Shortly before the time limit Slurm sends USR1 to this shell only. srun passes it on to every rank.
noticed=
trap 'noticed=1; kill -USR1 "$step"' USR1
trap : TERM

# One task on each machine, with this environment; the launcher starts the ranks of the machine.
srun --export=ALL --kill-on-bad-exit=1 ${{SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"}} \\
    {command} &
step=$!
until wait "$step"; status=$?; [ "$status" -le 128 ] || ! kill -0 "$step" 2>/dev/null; do :; done
{requeue}exit "$status"
"""
# By which the launchers of a job's machines know each other. Slurm stores the script and the environment that are
# submitted, and the environment of a step is seen by its user alone: so the secret is made in the job.
SECRET = f"""\
# The launchers of this job know each other by a secret that is made here, and that no rank gets.
{CARRIED}=$(od -An -v -tx1 -N32 /dev/urandom | tr -d ' \\n')
export {CARRIED}
"""
REQUEUE = """\
# A script that exits with 0 after the signal has finished; any other status means that there is more to do.
if [ -n "$noticed" ] && [ "$status" -ne 0 ]; then
    scontrol requeue "$SLURM_JOB_ID" && exit 0
fi
"""


def text(job: Job, host: Host) -> tuple[str, tuple[str, ...]]:
    """Return the batch script, and notes on it.

    Raises:
        AccelError: an option has more than one line, its name isn't that of an option, or a limit isn't valid.
    """
    asked = job.settings[Scheduler]
    memory, time = limits.memory(job.settings, limits.SLURM), limits.time(job.settings)
    options = [
        f"job-name={job.name}",
        f"nodes={job.machines}",
        "ntasks-per-node=1",
        *([f"gpus-per-node={job.gpus}"] if job.gpus else []),
        *([f"cpus-per-task={asked.job_cpus}"] if asked.job_cpus else []),
        *([f"mem={memory}"] if memory else []),
        *([f"time={time}"] if time else []),
        f"signal=B:USR1@{int(asked.job_notice)}",
        *(["requeue", "open-mode=append"] if asked.job_requeue else ["no-requeue"]),
        *asked.job_options,
    ]
    for option in options:
        _check(option)
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH --{_quoted(option.removeprefix('--'))}" for option in options),
        *_suggestions(job),
    ]
    words = " ".join(map(quote, command(job, host)))
    body = BODY.format(command=words, requeue=REQUEUE if asked.job_requeue else "")
    secret = [SECRET] if job.machines > 1 else []
    return "\n".join([*lines, "", *_environment(job, host), *secret, body]), _notes(job)


def _notes(job: Job) -> tuple[str, ...]:
    if not job.settings.given("job_image"):
        return ()
    return (f"{describe(job.settings, 'job_image')}: without effect in a Slurm job",)


def command(job: Job, host: Host) -> tuple[str, ...]:
    """Return the command of each machine, which starts the launcher of this interpreter."""
    return job.words(host.python)


def first_machine(job: Job) -> dict[str, str]:
    """Return the variables by which srun tells the first machine its place, as the launcher reads them."""
    return {
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_NODES": str(job.machines),
        "SLURM_STEP_NUM_TASKS": str(job.machines),
        "SLURM_STEP_NODELIST": ",".join(f"node-{place}" for place in range(job.machines)),
        "SLURM_NODEID": "0",
        "SLURM_PROCID": "0",
    }


def _environment(job: Job, host: Host) -> list[str]:
    """Return lines that set the variables of this shell in the job, and unset those that would misplace its tasks."""
    found = [f"export {assignment(name, value)}" for name, value in job.variables(host).items()]
    unset = job.unset()
    lines = ["unset " + " ".join(unset)] if unset else []
    return [*lines, *found, *([""] if found or lines else [])]


def _check(option: str) -> None:
    """Refuse an option that would become more than one, or another line of the script.

    Raises:
        AccelError: it has more than one line, or its name isn't that of an option.
    """
    name = option.removeprefix("--").partition("=")[0]
    if not option.isprintable():
        raise AccelError(f"job_options {option!r} isn't a valid option of sbatch: it must be one line of text")
    if not NAME.issuperset(name) or not name:
        raise AccelError(
            f"job_options {option!r} isn't a valid option of sbatch: write NAME or NAME=VALUE, with the long name"
        )


def _quoted(option: str) -> str:
    """Quote the value of an option as for a shell, which is how sbatch reads these lines."""
    name, equals, value = option.partition("=")
    return f"{name}{equals}{quote(value) if value else ''}"


def _suggestions(job: Job) -> list[str]:
    """Return lines, commented out, for options that depend on the cluster and aren't set."""
    asked = job.settings[Scheduler]
    named = {option.removeprefix("--").partition("=")[0] for option in asked.job_options}
    unset = {
        "gpus-per-node=8": job.gpus is None,
        "cpus-per-task=32": asked.job_cpus is None,
        "time=24:00:00": asked.job_time is None,
    }
    lines = [
        f"##SBATCH --{option}" for option, lacks in unset.items() if lacks and option.partition("=")[0] not in named
    ]
    return ["# As your cluster needs it:", *lines] if lines else []


def submit(script: str, host: Host) -> int:
    """Pass the script to sbatch, which prints the job's number; return its exit status.

    Raises:
        AccelError: sbatch isn't on PATH.
    """
    import subprocess  # noqa: TID251  a request to the scheduler: it starts no rank here

    program = host.probe.programs.find("sbatch")
    if program is None:
        raise AccelError("sbatch isn't on PATH; use --submit on a machine with Slurm's programs")
    return subprocess.run([program], input=script, text=True, check=False).returncode  # noqa: S603
