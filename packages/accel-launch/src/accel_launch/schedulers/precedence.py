"""Which source wins if a scheduler, the user and a config file set different places for a process.

Flags and ACCELERATE_LAUNCH_* variables win over the scheduler. The scheduler wins over the config file, because every
written file has ``num_machines: 1``.
"""

from __future__ import annotations

from accel_config import SettingError
from accel_config.catalogue import DeepSpeed, Launcher, Resources, Scheduler
from accel_config.settings.origin import FILE, SCHEDULER, Value
from accel_config.settings.paradigm import paradigm, sagemaker
from accel_config.showing.wording import describe
from accel_launch.schedulers.placement import Placement, ignored
from accel_launch.schedulers.readers import read, variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_config import Settings
    from accel_launch.machine.probe import Probe
    from accel_launch.schedulers.placement import Task

# A process with one of these is a rank already; RANK and the like belong to that launch.
INSIDE = ("LOCAL_RANK", "TORCHELASTIC_RUN_ID")
# Engines that start only the ranks of this machine. The others reach all machines themselves.
LOCAL_ENGINES = (None, "exec", "local", "torchrun")
# Settings that are decided if each task is one rank.
COUNTED = ("engine", "num_processes", "nproc_per_node", "num_machines")


def accepted(settings: Settings, environ: Mapping[str, str], probe: Probe) -> Placement:
    """Return what is taken from the schedulers of ``environ``, given the ``settings`` without them.

    Raises:
        SettingError: flags contradict what the scheduler has started.
    """
    if not _wanted(settings):
        return Placement()
    if inside := [name for name in INSIDE if environ.get(name)]:
        by, unused = ", ".join(inside), ", ".join(variables(environ))
        return ignored("", f"this runs inside another launch ({by}), so variables have no effect: {unused}")
    found = _as_machine(settings, read(environ, probe))
    if found.task is not None:
        _refuse_contradiction(settings, found, found.task)
    elif _other_machines(settings, found):
        machines = found.values["num_machines"]
        started = f"{found.title} started {machines.value} ({machines.origin})"
        return ignored("", f"{describe(settings, 'num_machines')}, but {started}: its settings have no effect")
    return _over_file(settings, found).with_notes(*_left_over(settings, found, environ))


def _wanted(settings: Settings) -> bool:
    """Return whether to ask a scheduler: not to print a job, and not if the launch reaches its machines itself."""
    scheduler = settings[Scheduler]
    return not (scheduler.no_scheduler or scheduler.slurm or scheduler.kubernetes or reaching(settings))


def reaching(settings: Settings) -> list[str]:
    """Return the settings by which the launch reaches its machines itself, whatever started it."""
    names = [name for name in ("hosts", "mpirun_hostfile", "tpu_cluster") if settings.value(name).value]
    if settings[DeepSpeed].deepspeed_hostfile and settings[DeepSpeed].deepspeed_multinode_launcher != "standard":
        names.append("deepspeed_hostfile")
    if sagemaker(settings):
        names.append("compute_environment")
    return names if settings[Launcher].engine in LOCAL_ENGINES else [*names, "engine"]


def _stronger(settings: Settings, name: str) -> bool:
    """Return whether a flag or a variable gives the setting, which then wins over the scheduler."""
    return settings.value(name).origin.layer < SCHEDULER


def _refuse_contradiction(settings: Settings, found: Placement, task: Task) -> None:
    """Refuse flags and variables that contradict tasks of which each is one rank."""
    known = COUNTED if task.machines is not None else COUNTED[:-1]
    given = [(name, value) for name, value in found.values.items() if name in known and _stronger(settings, name)]
    wrong = [name for name, value in given if settings.value(name).value != value.value]
    if wrong:
        tasks = f"{task.total} tasks ({found.values['num_processes'].origin}), {task.local} of them on this machine"
        way = "start one task on each machine"
        if task.local == 1 < task.total:
            way = f"give --num_machines {task.total} if each is a machine"
        raise SettingError(
            f"{describe(settings, *wrong)}: {found.title} started {tasks}, and each one is a rank; leave out what "
            f"contradicts, {way}, or make independent runs with --no_scheduler"
        )


def _as_machine(settings: Settings, found: Placement) -> Placement:
    """Return the placement of a launcher that starts the ranks of its machine, if mpirun's process is one.

    MPI doesn't tell a rank from such a launcher. It is one if each of the machines that the settings name got one
    process. One process alone may be anything, so flags decide.
    """
    task, named = found.task, settings.value("num_machines")
    if task is None or task.local != 1 or task.machines not in (None, 1):
        return found
    counted, values = found.values["num_processes"].origin, dict(found.values)
    if task.total == 1:
        given = [name for name in COUNTED if _stronger(settings, name) and settings.value(name).value != 1]
        alone = f"{found.title} started one process ({counted}), which is taken for a machine"
        return ignored("", f"{describe(settings, *given)}: {alone}") if given else found
    if named.value != task.total:
        return found
    for name in ("engine", "num_processes", "nproc_per_node"):
        del values[name]
    values["num_machines"] = Value(named.value, counted)
    placed = found.replace(values=values, task=None)
    return placed.with_setting("machine_rank", task.rank, task.rank_variable)


def _other_machines(settings: Settings, found: Placement) -> bool:
    """Return whether a flag or a variable sets another number of machines; the rest then fits nothing."""
    return _stronger(settings, "num_machines") and "num_machines" in _different(settings, found)


def _different(settings: Settings, found: Placement) -> list[str]:
    """Return the given settings for which the scheduler has another value."""
    given = [name for name in found.values if settings.given(name)]
    return [name for name in given if settings.value(name).value != found.values[name].value]


def _over_file(settings: Settings, found: Placement) -> Placement:
    """Add notes on differences from the config file, and share out a total that is meant for the file's machines."""
    filed = {name: settings.value(name) for name in _different(settings, found)}
    filed = {name: value for name, value in filed.items() if value.origin.layer == FILE}
    filed.pop("machine_rank", None)  # every written file has 0
    notes = [
        f"{name} is {found.values[name].value} ({found.values[name].origin}), not {value.value} ({value.origin})"
        for name, value in filed.items()
    ]
    machines, total = found.values.get("num_machines"), settings.value("num_processes")
    values = dict(found.values)
    if machines is not None and found.task is None and total.origin.layer == FILE:
        values["num_processes"] = Value(None, machines.origin)
        if paradigm(settings).kind != "NO":
            values["nproc_per_node"] = share = _share(settings, found)
            notes += [f"{describe(settings, 'num_processes')} means {share.value} on each machine"] if notes else []
    if "num_machines" in filed and machines is not None and machines.value == 1:  # the address is of another machine
        values["main_process_ip"] = Value(None, machines.origin)
    return found.replace(values=values).with_notes(*(["; ".join(notes)] if notes else []))


def _share(settings: Settings, found: Placement) -> Value:
    """Return the number of processes of each machine according to the file."""
    each, resources = found.values.get("nproc_per_node", settings.value("nproc_per_node")), settings[Resources]
    if each.given:
        return each
    return Value((resources.num_processes or 1) // resources.num_machines, settings.value("num_processes").origin)


def _left_over(settings: Settings, found: Placement, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Note that RANK and MASTER_ADDR are ignored if another scheduler decides."""
    used = {value.origin.text for value in found.values.values()}
    idle = [name for name in ("RANK", "MASTER_ADDR") if environ.get(name) and name not in used]
    if not idle or not found.values or _stronger(settings, "main_process_ip"):
        return ()
    has = "has" if len(idle) == 1 else "have"
    return (f"{', '.join(idle)} in the environment {has} no effect: {found.title} sets the place of this process",)
