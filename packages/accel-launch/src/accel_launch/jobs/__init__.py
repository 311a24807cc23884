"""Jobs: a launch printed as a batch script for Slurm or a manifest for Kubernetes, instead of running here."""

from __future__ import annotations

from accel_config.catalogue import Launcher, Scheduler
from accel_config.errors import AccelError
from accel_config.front import tell
from accel_config.showing.console import data
from accel_launch.jobs import kubernetes, slurm
from accel_launch.jobs.job import build
from accel_launch.jobs.rehearsal import rehearse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config import Settings, Typed
    from accel_launch.machine.host import Host


def main(settings: Settings, host: Host, typed: Typed, program: str) -> int:
    """Print or submit the job; return the exit status.

    Raises:
        AccelError: the launch can't work, or can't be such a job.
    """
    scheduler = settings[Scheduler]
    if scheduler.slurm == scheduler.kubernetes:
        raise AccelError("give one of --slurm and --kubernetes" if scheduler.slurm else "--submit needs --slurm")
    if scheduler.kubernetes and scheduler.submit:
        raise AccelError("--submit is for --slurm; pipe the manifest of --kubernetes into `kubectl apply -f -`")
    job, lacking = build(settings, host, typed, program)
    form = slurm if scheduler.slurm else kubernetes
    text, notes = form.text(job, host)
    rehearse(job, form.command(job, host), form.first_machine(job), host)
    if not settings[Launcher].quiet:
        tell("accel: note", (*settings.notes, *lacking, *notes))
    if scheduler.submit and not settings[Launcher].dry_run:
        return slurm.submit(text, host)
    data(text)
    return 0
