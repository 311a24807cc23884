"""A batch script for sbatch: one task on each machine, which starts the machine's ranks."""

from __future__ import annotations

from accel_config.catalogue import Scheduler
from accel_config.errors import AccelError

from ..explain import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..host import Host
    from . import Job

# Bash runs a trap only between commands, so the step is in the background and waited for. A signal ends `wait` with a
# status above 128 while the step lives on. SIGTERM reaches the step from Slurm itself; a second one would end the run
# at once, and a shell that dies of it would take the step along.
BODY = """\
# Shortly before the time limit Slurm signals this shell alone; srun passes it on to every rank.
noticed=
trap 'noticed=1; kill -USR1 "$step"' USR1
trap : TERM

# One task for each machine, with our environment; accelerate launch starts the ranks on it.
srun --export=ALL --kill-on-bad-exit=1 ${{SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"}} \\
    {command} &
step=$!
until wait "$step"; status=$?; [ "$status" -le 128 ] || ! kill -0 "$step" 2>/dev/null; do :; done
{requeue}exit "$status"
"""
REQUEUE = """\
# A script that ends well at the notice has finished; another status means that there is more to do.
if [ -n "$noticed" ] && [ "$status" -ne 0 ]; then
    scontrol requeue "$SLURM_JOB_ID" && exit 0
fi
"""


def text(job: Job, host: Host) -> tuple[str, tuple[str, ...]]:
    """Return the script, and what is to be said about it.

    Raises:
        AccelError: an option is more than a line.
    """
    asked = job.settings[Scheduler]
    options = [
        f"job-name={job.name}",
        f"nodes={job.machines}",
        "ntasks-per-node=1",
        *([f"gpus-per-node={job.gpus}"] if job.gpus else []),
        *([f"cpus-per-task={asked.job_cpus}"] if asked.job_cpus else []),
        *([f"mem={asked.job_memory}"] if asked.job_memory else []),
        *([f"time={asked.job_time}"] if asked.job_time else []),
        f"signal=B:USR1@{asked.job_notice}",
        *(["requeue", "open-mode=append"] if asked.job_requeue else ["no-requeue"]),
        *asked.job_options,
    ]
    if broken := [option for option in options if not option.isprintable()]:
        raise AccelError(f"{broken[0]!r} can't be an option for sbatch, which is one line of text")
    lines = ["#!/bin/bash", *(f"#SBATCH --{_quoted(option.removeprefix('--'))}" for option in options), *_open(job)]
    body = BODY.format(command=_command(job, host), requeue=REQUEUE if asked.job_requeue else "")
    return "\n".join([*lines, "", body]), ()


def _quoted(option: str) -> str:
    """Quote the value of an option, in the way of the shell, which sbatch reads in these lines."""
    name, equals, value = option.partition("=")
    return f"{name}{equals}{quote(value) if value else ''}"


def _open(job: Job) -> list[str]:
    """Return lines, commented out, for what nobody said and clusters differ in."""
    asked = job.settings[Scheduler]
    named = {option.removeprefix("--").partition("=")[0] for option in asked.job_options}
    unsaid = {
        "gpus-per-node=8": job.gpus is None,
        "cpus-per-task=32": asked.job_cpus is None,
        "time=24:00:00": asked.job_time is None,
    }
    lines = [
        f"##SBATCH --{option}" for option, unset in unsaid.items() if unset and option.partition("=")[0] not in named
    ]
    return ["# As your cluster needs it:", *lines] if lines else []


def _command(job: Job, host: Host) -> str:
    program, *rest = job.words()
    if host.ask.program(program) is None:  # it was called by its path, which the job won't find by name
        program = f"{host.python.rpartition('/')[0]}/{program}"
    return " ".join(map(quote, (program, *rest)))


def submit(script: str, host: Host) -> int:
    """Give the script to sbatch, which prints the job's number; return its status.

    Raises:
        AccelError: there is no sbatch.
    """
    import subprocess  # noqa: TID251  a word to the scheduler: no rank is started here

    program = host.ask.program("sbatch")
    if program is None:
        raise AccelError("there is no sbatch on PATH: --submit works where Slurm's programs are installed")
    return subprocess.run([program], input=script, text=True, check=False).returncode  # noqa: S603
