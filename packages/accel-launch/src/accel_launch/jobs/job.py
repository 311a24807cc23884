"""A launch as a job for a scheduler: its name, its machines, and the command that each machine runs."""

from __future__ import annotations

from accel_config.catalogue import Resources, Scheduler
from accel_config.catalogue.hardware import MULTI_DEVICE
from accel_config.errors import AccelError
from accel_config.record import Record
from accel_config.settings.origin import ENVIRONMENT, FLAG
from accel_config.settings.paradigm import alone, paradigm
from accel_config.settings.readers import natural
from accel_config.showing.masking import holds_secret
from accel_config.showing.wording import describe
from accel_launch.machine import devices
from accel_launch.planning import checks
from accel_launch.planning.checks import script
from accel_launch.planning.findings import Findings
from accel_launch.planning.layout import counts
from accel_launch.schedulers.precedence import reaching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from accel_config import Settings, Typed
    from accel_launch.machine.host import Host

# The job sets these on each machine.
PLACEMENT = frozenset(("num_machines", "machine_rank", "main_process_ip", "run_id"))
# Flags for printing the job, or for leaving it. The command in the job doesn't have them.
PRINTING = frozenset(("dry_run", "json", "explain", "quiet", "detach"))
LONGEST_NAME = 40
# Settings whose values are numbers of processes. The job gets them as flags, as they are counted here: in the job the
# scheduler's number of machines takes the place of the file's, and the same file would mean other numbers.
COUNTED = ("num_processes", "nproc_per_node")


class Job(Record):
    """A launch as a job."""

    name: str
    settings: Settings
    typed: Typed
    module: tuple[str, ...]
    """The module of the command that printed this, with the name of its command, if it has several."""
    machines: int
    gpus: int | None
    """GPUs of each machine; None if neither GPUs nor processes are set."""

    def words(self, python: str, *more: str) -> tuple[str, ...]:
        """Return the command for each machine: the flags as typed, the flags ``more``, and the script.

        It starts the launcher that printed this: another ``accelerate`` may come first on the job's PATH.
        """
        kept = (words for name, words in self.typed.flags if not _dropped(name))
        flags = (*more, *self._counted(), *(word for words in kept for word in words))
        return (python, "-P", "-m", *self.module, *flags, *_separated(self.typed.script))

    def _counted(self) -> Iterator[str]:
        """Yield the numbers of processes that weren't typed."""
        if alone(self.settings):  # then they mean nothing
            return
        for name in COUNTED:
            value = self.settings.value(name)
            if value.value is not None and value.origin.layer != FLAG:
                yield from (f"--{name}", str(value.value))

    def variables(self, host: Host) -> dict[str, str]:
        """Return the ACCELERATE_LAUNCH_* variables that are set here, without secrets and what isn't for the job.

        A job on another machine doesn't inherit them, nor does one that is submitted from another shell.
        """
        return {
            value.origin.text: host.environ[value.origin.text]
            for setting, value in self.settings
            if value.origin.layer == ENVIRONMENT
            and not holds_secret(setting, host.environ[value.origin.text])
            and not _dropped(setting.name)
        }

    def unset(self) -> list[str]:
        """Return the variables set here that must not reach the job: its own place, and how it is printed."""
        return sorted(
            value.origin.text
            for setting, value in self.settings
            if value.origin.layer == ENVIRONMENT and _dropped(setting.name)
        )


def _dropped(name: str) -> bool:
    about_job = {setting.name for setting in Scheduler.settings} - {"no_scheduler"}
    return name in PLACEMENT | PRINTING | about_job


def _separated(script: tuple[str, ...]) -> tuple[str, ...]:
    """Return the script and its arguments, after ``--`` if its name could be taken for a flag."""
    return ("--", *script) if script[0].startswith("-") else script


def build(settings: Settings, host: Host, typed: Typed, program: str) -> tuple[Job, list[str]]:
    """Return the job, with notes on what it may lack.

    Raises:
        AccelError: the launch can't work, or can't be a job.
    """
    findings = Findings(lenient=True)
    checks.combinations(settings, findings)
    script.check(settings, host, typed.script, findings, local=not settings[Scheduler].kubernetes)
    if own := reaching(settings):
        raise AccelError(
            f"{describe(settings, *own)}: this reaches the other machines itself, but the job starts the launch on "
            "each of them; leave it out"
        )
    machines = settings[Resources].num_machines
    if machines.elastic:
        raise AccelError(
            f"{describe(settings, 'num_machines')}: the number of machines in a job is fixed; give one number"
        )
    if settings[Scheduler].no_scheduler and settings[Scheduler].slurm and machines > 1:
        raise AccelError(
            f"{describe(settings, 'no_scheduler', 'num_machines')}: the machines of the job find each other by "
            "Slurm's variables; leave no_scheduler out"
        )
    _refuse_unequal(settings, machines)
    name = settings[Scheduler].job_name or _name(typed.script[0])
    gpus = _gpus(settings, machines, findings)
    return Job(name, settings, typed, _module(program), int(machines), gpus), findings.notes


def _module(program: str) -> tuple[str, ...]:
    """Return the module that runs the command that messages call ``program``."""
    return ("accel_launch",) if program == "accel-launch" else ("accel_cli", "launch")


def _refuse_unequal(settings: Settings, machines: int) -> None:
    """Refuse numbers that leave the machines of a job with different shares: each runs the same command."""
    resources = settings[Resources]
    total, local = resources.num_processes, resources.nproc_per_node
    if total is not None and local is not None and not alone(settings) and total != local * machines:
        raise AccelError(
            f"{describe(settings, 'num_processes', 'nproc_per_node')}: each of the {machines} machines of a job runs "
            f"{local}, which makes {local * machines}; leave one of them out"
        )


def _name(script: str) -> str:
    """Return a job name for a script that every scheduler accepts: lower-case letters, digits and hyphens."""
    base = script.rpartition("/")[2].removesuffix(".py").lower()
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in base).strip("-")
    return (plain if plain[:1].isalpha() else f"train-{plain}")[:LONGEST_NAME].strip("-")


def _gpus(settings: Settings, machines: int, findings: Findings) -> int | None:
    """Return the GPUs of each machine: ``job_gpus``, or as many as its processes or ``gpu_ids`` need.

    Raises:
        AccelError: ``job_gpus`` or ``gpu_ids`` are fewer than the processes.
    """
    asked, mode, resources = settings[Scheduler].job_gpus, paradigm(settings), settings[Resources]
    if mode.cpu or mode.kind == "XLA":
        return asked or 0
    ids = resources.gpu_ids or ""
    chosen = devices.expand(ids) if ids else []
    last = max((number + 1 for one in chosen if (number := natural(one)) is not None), default=0)
    if resources.num_processes is None and resources.nproc_per_node is None and not alone(settings):
        return (last or None) if asked is None else asked
    _total, local = counts(settings, 0, machines, findings)
    for name, available in (("job_gpus", asked or 0), ("gpu_ids", len(chosen))):
        if available < local and (available or (name == "job_gpus" and asked == 0 and mode.kind in MULTI_DEVICE)):
            counted = "num_processes" if resources.nproc_per_node is None else "nproc_per_node"
            raise AccelError(
                f"{describe(settings, name)}: each machine runs {local} processes ({settings.origin(counted)}), and "
                "each needs a GPU; raise it, or give --cpu to train on the CPU"
            )
    return max(local, last) if asked is None else asked
