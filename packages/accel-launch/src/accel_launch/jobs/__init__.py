"""Jobs for a scheduler that run the same launch: what is printed instead of running it here."""

from __future__ import annotations

from accel_config.catalogue import Launcher, Resources, Scheduler
from accel_config.console import show
from accel_config.errors import AccelError
from accel_config.origin import ENVIRONMENT
from accel_config.record import Record
from accel_config.wording import said

from .. import checks
from ..process import say
from ..schedulers.precedence import reaching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config import Settings, Typed

    from ..host import Host

# Who starts the job says these on each machine.
PLACEMENT = frozenset(("num_machines", "machine_rank", "main_process_ip", "run_id"))
# These are about printing it.
OWN = frozenset(("dry_run", "json", "explain", "quiet"))


class Job(Record):
    """A launch as a job."""

    name: str
    settings: Settings
    typed: Typed
    program: tuple[str, ...]
    machines: int
    gpus: int | None
    """Of each machine; None where nobody says."""

    def words(self, *more: str) -> tuple[str, ...]:
        """Return the launch's command on each machine: the flags as typed, ``more`` of them, and the script."""
        kept = (words for name, words in self.typed.flags if not self._dropped(name))
        return (*self.program, *more, *(word for words in kept for word in words), *self.typed.script)

    def _dropped(self, name: str) -> bool:
        about = {one.name for one in Scheduler.settings} - {"no_scheduler"}
        return name in PLACEMENT | OWN | about


def main(settings: Settings, host: Host, typed: Typed, program: str) -> int:
    """Print the job that was asked for, or submit it; return the exit status.

    Raises:
        AccelError: the launch can't work, or can't be such a job.
    """
    from . import kubernetes, slurm

    asked = settings[Scheduler]
    if asked.slurm == asked.kubernetes:
        raise AccelError("give one of --slurm and --kubernetes" if asked.slurm else "--submit needs --slurm")
    if asked.kubernetes and asked.submit:
        raise AccelError("--submit is for --slurm: pipe the manifest of --kubernetes into `kubectl apply -f -`")
    job, lacking = _job(settings, host, typed, program)
    kind = slurm if asked.slurm else kubernetes
    text, notes = kind.text(job, host)
    if not settings[Launcher].quiet:
        say("".join(f"accel: note: {note}\n" for note in (*settings.notes, *lacking, *notes)))
    if asked.submit and not settings[Launcher].dry_run:
        return slurm.submit(text, host)
    show(text)
    return 0


def _job(settings: Settings, host: Host, typed: Typed, program: str) -> tuple[Job, list[str]]:
    """Return the job, and notes on what it may lack."""
    findings = checks.Findings(lenient=True)
    checks.combinations(settings, findings)
    checks.script(settings, host, typed.script, findings, here=not settings[Scheduler].kubernetes)
    if own := reaching(settings):
        raise AccelError(
            f"{said(settings, *own)}: that reaches the machines by itself, but the job starts this launch on each of "
            "them; leave it out"
        )
    machines = settings[Resources].num_machines
    if machines.elastic:
        raise AccelError(f"{said(settings, 'num_machines')}: a job has as many machines as it has; name one number")
    name = settings[Scheduler].job_name or _name(typed.script[0])
    return Job(
        name, settings, typed, tuple(program.split()), int(machines), _gpus(settings, machines)
    ), findings.notes


def _name(script: str) -> str:
    """Return a name made of the script's, which every scheduler takes: small letters, digits and hyphens."""
    base = script.rpartition("/")[2].removesuffix(".py").lower()
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in base).strip("-")
    return (plain if plain[:1].isalpha() else f"train-{plain}")[:40].strip("-")


def _gpus(settings: Settings, machines: int) -> int | None:
    """Return the GPUs of each machine: those asked for, else one for each process there."""
    asked = settings[Scheduler].job_gpus
    if asked is not None or settings.paradigm.cpu:
        return asked or 0
    resources = settings[Resources]
    if resources.nproc_per_node is not None:
        return resources.nproc_per_node
    return None if resources.num_processes is None else resources.num_processes // machines


def variables(settings: Settings, host: Host) -> dict[str, str]:
    """Return the ACCELERATE_LAUNCH_* variables in force here, which a job elsewhere wouldn't inherit; no secrets."""
    return {
        value.origin.text: host.environ[value.origin.text]
        for one, value in settings
        if value.origin.layer == ENVIRONMENT and not (one.secret or one.masked) and one.name not in PLACEMENT
    }
