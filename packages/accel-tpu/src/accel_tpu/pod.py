"""Commands on the workers of a pod: the plan of it, which the supervisor carries, and the engine of `launch`."""

from __future__ import annotations

import os
import shlex

from accel_config import masking
from accel_config.catalogue import Dynamo, Fp8, Launcher, Precision, Tpu
from accel_config.errors import AccelError
from accel_config.record import Record
from accel_launch.plan import Command, Plan

from . import gcloud, shell
from .gcloud import NOT_FOUND, Pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from accel_config.section import Setting
    from accel_config.settings import Settings
    from accel_launch.engines import Order

    from .gcloud import Answer

ATTEMPTS = 10  # gcloud makes as many by itself to a TPU's workers, but only one to a Compute Engine VM
KEY = "~/.ssh/google_compute_engine"
# What a worker's own `launch` is told: the settings of these sections, and these, where somebody gave them.
TOLD_SECTIONS = (Precision, Dynamo, Fp8)
TOLD = ("module", "debug", "main_training_function", "tpu_spmd", "downcast_bf16", "num_cpu_threads_per_process")
# And these in any case, so that no config file of a worker decides them.
ALWAYS_TOLD = ("mixed_precision", "dynamo_backend")


class Task(Record):
    """What each worker is to do."""

    text: str
    """For the login shell."""
    env: dict[str, str] = {}  # noqa: RUF012  a record never changes
    sudo: bool = False
    together: bool = False
    """Whether the workers are one job, so that the others are ended when one fails."""


def shown(pod: Pod, worker: str, task: Task) -> Plan:
    """Return the plan as a person would type it: one line for a TPU, one for each VM. Nothing is asked.

    A value whose name says that it is a secret isn't in it, which a note tells.
    """
    secrets = [name for name in task.env if masking.secret(name)]
    text = shell.fitting(shell.plain(task.text, {**task.env, **dict.fromkeys(secrets, masking.MASK)}, sudo=task.sudo))
    places = select(worker, len(pod.vms)) if pod.vms else (worker,)
    commands = tuple(Command(gcloud.ssh(pod, place, text), {}) for place in places)
    note = f"not shown: {', '.join(secrets)}; put the value where {masking.MASK} stands"
    return Plan("tpu-pod", commands, summary=str(pod), notes=(note,) if secrets else ())


def carried(pod: Pod, workers: tuple[str, ...], task: Task, *, python: str, grace: float) -> Plan:
    """Return the plan that the supervisor carries: a relay for each of ``workers``."""
    mark = f"accel-{os.urandom(8).hex()}"
    text = shell.fitting(shell.looked_after(task.text, mark, task.env, sudo=task.sudo))
    attempts = str(ATTEMPTS if pod.vms else 1)
    relay = (python, "-P", "-m", "accel_tpu.relay", mark, attempts, str(grace))
    commands = tuple(
        Command((*relay, *gcloud.ssh(pod, worker, text)), {}, label=pod.label(worker)) for worker in workers
    )
    count = f"{len(workers)} worker{'s' * (len(workers) != 1)}"
    return Plan("tpu-pod", commands, summary=f"{count} of {pod}", grace=grace, together=task.together)


def reach(pod: Pod, worker: str, ask: Callable[[tuple[str, ...]], Answer] = gcloud.ask) -> tuple[str, ...]:
    """Return the numbers of the workers that ``worker`` (``all``, ``0,2-3``) names, once gcloud is known to work.

    Raises:
        AccelError: gcloud isn't there, isn't logged in, or doesn't find the pod; or a worker isn't there.
    """
    workers = select(worker, len(pod.vms) if pod.vms else gcloud.count_workers(pod, ask))
    if len(workers) > 1 and not os.path.exists(os.path.expanduser(KEY)):  # noqa: PTH110, PTH111
        # gcloud makes its key on the first connection; several at once would get into each other's way.
        first = ask(gcloud.ssh(pod, workers[0], "true"))
        if first.status:
            raise AccelError(f"{pod.label(workers[0])}: {gcloud.complaint(first, pod)}")
    return workers


def select(worker: str, count: int) -> tuple[str, ...]:
    """Return the workers that a selection (``all``, ``0,2-3``) names, each once and in order.

    Raises:
        AccelError: it can't be read, or names one that isn't there.
    """
    if worker.lower() == "all":
        return tuple(map(str, range(count)))
    chosen: set[int] = set()
    for part in worker.split(","):
        first, dash, last = part.strip().partition("-")
        low, high = (first, last) if dash else (first, first)
        if not (low.isdecimal() and high.isdecimal()) or int(low) > int(high):
            raise AccelError(f"--worker {worker}: {part!r} is no worker: give all, or numbers like 0,3 or 0-3")
        if int(high) >= count:
            raise AccelError(f"--worker {worker}: there is no worker {high}: they are 0 to {count - 1}")
        chosen.update(range(int(low), int(high) + 1))
    return tuple(map(str, sorted(chosen)))


def of(settings: Settings, *, alpha: bool = False) -> Pod:
    """Return the pod that settings name.

    Raises:
        AccelError: they name none, or by a name that would be a flag to gcloud.
    """
    tpu = settings[Tpu]
    if not tpu.tpu_name and not tpu.vm:
        raise AccelError("the TPU isn't named: --tpu_name NAME, or tpu_name in the config file")
    for name in ("vm" if tpu.vm else "tpu_name", "tpu_zone"):
        value = settings.value(name).value
        for text in value if isinstance(value, tuple) else (value,):  # pyright: ignore[reportUnknownVariableType]
            if text is not None and (not text or str(text).startswith("-")):  # pyright: ignore[reportUnknownArgumentType]
                raise AccelError(f"{settings.origin(name)}: {text!r} can't be a {name}")
    return Pod(
        tpu.tpu_name or "",
        tpu.tpu_zone,
        tpu.vm,
        alpha=alpha,
        name_origin=settings.origin("vm" if tpu.vm else "tpu_name"),
        zone_origin=settings.origin("tpu_zone"),
    )


# The engine.


def make(order: Order) -> Plan:
    """Plan the training command on every worker of the pod."""
    settings = order.settings
    pod = of(settings)
    tpu = settings[Tpu]
    if settings[Launcher].no_python:
        raise AccelError(f"no_python ({settings.origin('no_python')}): a TPU runs a function of a Python script")
    order.unused("each worker of a pod uses all of its chips", "num_processes", "nproc_per_node")
    order.unused("the machines are the pod's workers", "num_machines")
    python = settings[Launcher].python or "python3"
    env = {"ACCELERATE_IN_TPU_POD": "1", **shell.variables(tpu.env, settings.origin("env"))}
    words = (python, "-m", "accel_tpu", "launch", "--tpu", "--no_tpu_cluster", "--num_machines=1", *told(settings))
    task = Task(shlex.join((*words, *order.script)), env, sudo=tpu.tpu_use_sudo, together=True)
    if order.findings.lenient:
        made = shown(pod, "all", task)
        order.findings.notes += made.notes
        return made
    workers = reach(pod, "all")
    check(pod, workers[0], python, task)
    precision = settings[Precision].mixed_precision
    made = carried(pod, workers, task, python=order.host.python, grace=settings[Launcher].grace)
    return made.replace(summary=f"{made.summary}, XLA, precision {precision}, engine tpu-pod")


def check(
    pod: Pod, worker: str, python: str, task: Task, ask: Callable[[tuple[str, ...]], Answer] = gcloud.ask
) -> None:
    """Refuse to start where a worker lacks accel-tpu; one is asked, and the line that installs it is told."""
    text = shell.plain(shlex.join((python, "-c", "import accel_tpu")), task.env, sudo=task.sudo)
    answer = ask(gcloud.ssh(pod, worker, text))
    if not answer.status:
        return
    if answer.status == NOT_FOUND:
        raise AccelError(f"{pod.label(worker)} has no {python}: name the Python to use there with --python")
    if "No module named" not in answer.err:
        raise AccelError(f"{pod.label(worker)}: {gcloud.complaint(answer, pod)}")
    install = shell.plain(f"{python} -m pip install accel-tpu", {}, sudo=task.sudo)
    places = tuple(map(str, range(len(pod.vms)))) if pod.vms else ("all",)
    lines = "\n".join(shlex.join(gcloud.ssh(pod, place, install)) for place in places)
    raise AccelError(f"{pod.label(worker)} has no accel-tpu for {python}; this installs it:\n{lines}")


def told(settings: Settings) -> Iterator[str]:
    """Yield the flags that tell a worker's launch what its script's environment depends on."""
    for one, value in settings:
        wanted = one.section in TOLD_SECTIONS or one.name in TOLD
        if one.name in ALWAYS_TOLD or (wanted and value.given and value.value is not None):
            yield from _flag(one, value.value)


def _flag(one: Setting, value: object) -> tuple[str, ...]:
    flag = f"--{one.name}"
    if one.switch:
        return (flag,) if value else ()
    if isinstance(value, tuple):
        return (f"{flag}={','.join(map(str, value))}",)  # pyright: ignore[reportUnknownArgumentType]
    return (f"{flag}={value}",)
