"""What wins where a scheduler, the user and a config file say different things of where a process belongs.

Flags and ACCELERATE_LAUNCH_* variables go before the scheduler, and the scheduler before the file: every written file
says ``num_machines: 1``.
"""

from __future__ import annotations

from accel_config import SettingError
from accel_config.catalogue import DeepSpeed, Launcher, Mpi, Resources, Scheduler
from accel_config.origin import FILE, SCHEDULER, Value
from accel_config.paradigm import sagemaker
from accel_config.wording import said

from . import read, variables
from .placement import Placement, unplaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_config import Settings

    from ..host import Machine
    from .placement import Task

# Whoever has these is a rank already, and RANK and the like are that launch's.
INSIDE = ("LOCAL_RANK", "TORCHELASTIC_RUN_ID")
# Engines that start the ranks of this machine; the others have ways of their own to all machines.
PLACED = (None, "exec", "local", "torchrun")
# What tasks that are ranks leave nobody to choose.
COUNTED = ("engine", "num_processes", "nproc_per_node", "num_machines")


def placement(settings: Settings, environ: Mapping[str, str], machine: Machine) -> Placement:
    """Return what is taken from the schedulers of ``environ``, given the ``settings`` without them.

    Raises:
        SettingError: flags contradict what the scheduler has started.
    """
    if not _wanted(settings):
        return Placement()
    if inside := [name for name in INSIDE if environ.get(name)]:
        by, theirs = ", ".join(inside), ", ".join(variables(environ))
        return unplaced("", f"this runs inside another launch ({by}), whose {theirs} have no effect here")
    found = read(environ, machine)
    if found.task is not None:
        _refuse_contradiction(settings, found, found.task)
    elif _elsewhere(settings, found):
        machines = found.values["num_machines"]
        started = f"{found.title} has started {machines.value} ({machines.origin})"
        return unplaced("", f"{said(settings, 'num_machines')}, but {started}: nothing is taken from it")
    return _over_file(settings, found).noting(*_left_over(settings, found, environ))


def _wanted(settings: Settings) -> bool:
    """Whether a scheduler has anything to say: not to launches that reach other machines by themselves."""
    scheduler = settings[Scheduler]
    by_hostfile = settings[Mpi].mpirun_hostfile or settings[DeepSpeed].deepspeed_hostfile
    away = sagemaker(settings) or settings.value("tpu_cluster").value or by_hostfile
    printed = scheduler.slurm or scheduler.kubernetes
    return not (scheduler.no_scheduler or away or printed) and settings[Launcher].engine in PLACED


def _stronger(settings: Settings, name: str) -> bool:
    """Whether a flag or a variable gives the setting, which is then not the scheduler's to give."""
    return settings.value(name).origin.layer < SCHEDULER


def _refuse_contradiction(settings: Settings, found: Placement, task: Task) -> None:
    """Refuse what flags and variables say otherwise, where each task is one rank."""
    there = [(name, value) for name, value in found.values.items() if name in COUNTED and _stronger(settings, name)]
    wrong = [name for name, value in there if settings.value(name).value != value.value]
    if wrong:
        raise SettingError(
            f"{said(settings, *wrong)}: {found.title} has started {task.total} tasks "
            f"({found.values['num_processes'].origin}), {task.local} of them on this machine, and each is one rank; "
            "leave out what contradicts, start one task on each machine, or make independent runs with --no_scheduler"
        )


def _elsewhere(settings: Settings, found: Placement) -> bool:
    """Whether a flag or a variable counts other machines than the scheduler, so that the rest of it fits nothing."""
    machines = found.values.get("num_machines")
    return machines is not None and _stronger(settings, "num_machines") and _differ(settings, machines)


def _differ(settings: Settings, machines: Value) -> bool:
    return settings.value("num_machines").value != machines.value


def _over_file(settings: Settings, found: Placement) -> Placement:
    """Say where scheduler and config file differ; a total of the file's machines goes for as many on each."""
    machines, filed = found.values.get("num_machines"), settings.value("num_machines")
    if machines is None or not _differ(settings, machines):
        return found
    differences = [f"not {filed.value} ({filed.origin})"] if filed.origin.layer == FILE else []
    values = dict(found.values)
    if found.task is None and settings.value("num_processes").origin.layer == FILE:
        values |= {"num_processes": Value(None, machines.origin), "nproc_per_node": _share(settings)}
        differences.append(f"and {said(settings, 'num_processes')} means {values['nproc_per_node'].value} on each")
    if machines.value == 1 and settings.value("main_process_ip").origin.layer == FILE:  # it is another machine's
        values["main_process_ip"] = Value(None, machines.origin)
    if not differences:
        return found
    told = f"num_machines is {machines.value} ({machines.origin}), {', '.join(differences)}"
    return found.replace(values=values).noting(told)


def _share(settings: Settings) -> Value:
    """Return how many processes each machine has by the file."""
    each, resources = settings.value("nproc_per_node"), settings[Resources]
    if each.given:
        return each
    return Value((resources.num_processes or 1) // resources.num_machines, settings.value("num_processes").origin)


def _left_over(settings: Settings, found: Placement, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Name RANK and MASTER_ADDR where another one decides."""
    used = {value.origin.text for value in found.values.values()}
    idle = [name for name in ("RANK", "MASTER_ADDR") if environ.get(name) and name not in used]
    if not idle or not found.values or _stronger(settings, "main_process_ip"):
        return ()
    return (f"{', '.join(idle)} in the environment: no effect, since {found.title} says where this is",)
