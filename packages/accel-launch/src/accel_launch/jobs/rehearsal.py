"""The job's plan, made before the job is printed: what a machine would refuse is refused now, not after the queue."""

from __future__ import annotations

from accel_config import CATALOGUE, AccelError, split
from accel_launch.machine.devices import Device
from accel_launch.planning.making import plan
from accel_launch.schedulers import READERS, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from accel_launch.jobs.job import Job
    from accel_launch.machine.host import Host

# Variables by which an outer launch or scheduler places a process; the job's own take their place.
OUTER = ("LOCAL_RANK", "TORCHELASTIC_RUN_ID", *(variable for variable, _reader in READERS))


def rehearse(job: Job, words: Sequence[str], scheduler: Mapping[str, str], host: Host) -> None:
    """Plan what the first machine of the job does with the command ``words`` under the variables of its scheduler.

    The plan is that of a dry run: what depends on the machine isn't known here.

    Raises:
        AccelError: the command would be refused there.
    """
    from accel_launch.machine.probe import Probe

    start = words.index("-m") + 1 + len(job.module)
    typed = split(CATALOGUE, ["--dry_run", *words[start:]])
    away = {*job.unset(), *(name for name in host.environ if name in OUTER)}
    environ = {**{name: text for name, text in host.environ.items() if name not in away}, **scheduler}
    devices = tuple(Device("GPU", str(place)) for place in range(1 if job.gpus is None else job.gpus))
    try:
        settings = settle(typed, environ, Probe())
        plan(settings, host.replace(environ=environ, devices=devices), typed.script)
    except AccelError as error:
        raise AccelError(f"the job would be refused on its machines: {error}", status=error.status) from None
