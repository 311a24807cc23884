"""What wins where a scheduler, the user and a config file say different things of where a process belongs.

Flags and ACCELERATE_LAUNCH_* variables go before the scheduler, and the scheduler before the file: every written file
says ``num_machines: 1``.
"""

from __future__ import annotations

from accel_config import SettingError
from accel_config.catalogue import DeepSpeed, Launcher, Resources, Scheduler
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
    """Whether a scheduler is to be asked: not for a job that is printed, nor where machines are reached anyway."""
    scheduler = settings[Scheduler]
    return not (scheduler.no_scheduler or scheduler.slurm or scheduler.kubernetes or reaching(settings))


def reaching(settings: Settings) -> list[str]:
    """Return the settings by which the launch reaches its machines itself, whatever started it."""
    names = [name for name in ("mpirun_hostfile", "tpu_cluster") if settings.value(name).value]
    if settings[DeepSpeed].deepspeed_hostfile and settings[DeepSpeed].deepspeed_multinode_launcher != "standard":
        names.append("deepspeed_hostfile")
    if sagemaker(settings):
        names.append("compute_environment")
    return names if settings[Launcher].engine in PLACED else [*names, "engine"]


def _stronger(settings: Settings, name: str) -> bool:
    """Whether a flag or a variable gives the setting, which is then not the scheduler's to give."""
    return settings.value(name).origin.layer < SCHEDULER


def _refuse_contradiction(settings: Settings, found: Placement, task: Task) -> None:
    """Refuse what flags and variables say otherwise, where each task is one rank."""
    known = COUNTED if task.machines is not None else COUNTED[:-1]
    there = [(name, value) for name, value in found.values.items() if name in known and _stronger(settings, name)]
    wrong = [name for name, value in there if settings.value(name).value != value.value]
    if wrong:
        raise SettingError(
            f"{said(settings, *wrong)}: {found.title} has started {task.total} tasks "
            f"({found.values['num_processes'].origin}), {task.local} of them on this machine, and each is one rank; "
            "leave out what contradicts, start one task on each machine, or make independent runs with --no_scheduler"
        )


def _elsewhere(settings: Settings, found: Placement) -> bool:
    """Whether a flag or a variable counts other machines than the scheduler, so that the rest of it fits nothing."""
    return _stronger(settings, "num_machines") and "num_machines" in _different(settings, found)


def _different(settings: Settings, found: Placement) -> list[str]:
    """Return the settings of which the scheduler says other than whoever gave them."""
    given = [name for name in found.values if settings.given(name)]
    return [name for name in given if settings.value(name).value != found.values[name].value]


def _over_file(settings: Settings, found: Placement) -> Placement:
    """Say where scheduler and config file differ; a total of the file's machines goes for as many on each."""
    filed = {name: settings.value(name) for name in _different(settings, found)}
    filed = {name: value for name, value in filed.items() if value.origin.layer == FILE}
    filed.pop("machine_rank", None)  # which every written file has as 0
    told = [
        f"{name} is {found.values[name].value} ({found.values[name].origin}), not {value.value} ({value.origin})"
        for name, value in filed.items()
    ]
    machines, total = found.values.get("num_machines"), settings.value("num_processes")
    values = dict(found.values)
    if machines is not None and found.task is None and total.origin.layer == FILE:
        values["num_processes"] = Value(None, machines.origin)
        if settings.paradigm.kind != "NO":
            values["nproc_per_node"] = each = _share(settings, found)
            told += [f"{said(settings, 'num_processes')} means {each.value} on each machine"] if told else []
    if "num_machines" in filed and machines is not None and machines.value == 1:  # an address is another machine's
        values["main_process_ip"] = Value(None, machines.origin)
    return found.replace(values=values).noting(*(["; ".join(told)] if told else []))


def _share(settings: Settings, found: Placement) -> Value:
    """Return how many processes each machine has by the file."""
    each, resources = found.values.get("nproc_per_node", settings.value("nproc_per_node")), settings[Resources]
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
