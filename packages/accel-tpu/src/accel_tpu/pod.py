"""Commands on the workers of a pod: their plan, which the supervisor carries out, and the engine of `launch`."""

from __future__ import annotations

import os
import shlex

from accel_config.catalogue import DeepSpeed, Dynamo, Fp8, Fsdp, Launcher, Megatron, Parallel, Precision, Tpu
from accel_config.errors import AccelError
from accel_config.record import Record
from accel_config.settings.readers import natural
from accel_config.showing import masking
from accel_config.showing.secrets import MASK
from accel_launch.engines import ADDRESS, Command, Engine, Plan
from accel_tpu import gcloud, shell
from accel_tpu.gcloud import NOT_FOUND, Pod
from accel_tpu.relay import VARIABLES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from accel_config.settings.declaration import Setting
    from accel_config.settings.resolved import Settings
    from accel_launch.engines import LaunchContext
    from accel_tpu.gcloud import Answer

ATTEMPTS = 10  # gcloud tries as often by itself to reach a TPU's workers, but only once to reach a Compute Engine VM
KEY = "~/.ssh/google_compute_engine"
# The settings that a worker's own `launch` receives as flags: those of these sections and of these names, where they
# are set.
PASSED_SECTIONS = (Precision, Dynamo, Fp8)
PASSED = ("module", "debug", "main_training_function", "tpu_spmd", "downcast_bf16", "num_cpu_threads_per_process")
# It receives these in any case, so that no config file of a worker decides them.
ALWAYS_PASSED = ("mixed_precision", "dynamo_backend")


class Task(Record):
    """The command of each worker."""

    text: str
    """The text for the login shell."""
    env: dict[str, str] = {}  # noqa: RUF012  a record never changes
    sudo: bool = False
    together: bool = False
    """Whether the workers are one job, so that the others are terminated when one fails."""


def preview(pod: Pod, worker: str, task: Task) -> Plan:
    """Return the plan as a person would type it: one line for a TPU, one for each VM. gcloud isn't called.

    A value whose name marks it as a secret is masked, and a note names it.
    """
    secrets = [name for name, text in task.env.items() if masking.environment({name: text}) != {name: text}]
    shown = masking.text(task.text)
    text = shell.fitting(shell.plain(shown, {**task.env, **dict.fromkeys(secrets, MASK)}, sudo=task.sudo))
    places = select(worker, len(pod.vms)) if pod.vms else (worker,)
    commands = tuple(Command(gcloud.ssh(pod, place, text), {}) for place in places)
    hidden = [*secrets, *(["secrets in the command"] if shown != task.text else [])]
    note = f"not shown: {', '.join(hidden)}; put the value where {MASK} stands"
    return Plan("tpu-pod", commands, summary=str(pod), notes=(note,) if hidden else ())


def plan(pod: Pod, workers: tuple[str, ...], task: Task, *, python: str, grace: float) -> Plan:
    """Return the plan that the supervisor carries out: a relay for each of ``workers``."""
    mark = f"accel-{os.urandom(8).hex()}"
    text = shell.fitting(shell.supervised(task.text, mark, sudo=task.sudo))
    given = shell.carried(task.env)
    attempts = str(ATTEMPTS if pod.vms else 1)
    relay = (python, "-P", "-m", "accel_tpu.relay", mark, attempts, str(grace))
    commands = tuple(
        Command((*relay, *gcloud.ssh(pod, worker, text)), {VARIABLES: given}, label=pod.label(worker))
        for worker in workers
    )
    count = f"{len(workers)} worker{'s' * (len(workers) != 1)}"
    return Plan("tpu-pod", commands, summary=f"{count} of {pod}", grace=grace, together=task.together)


def workers(pod: Pod, worker: str, ask: Callable[[tuple[str, ...]], Answer] = gcloud.ask) -> tuple[str, ...]:
    """Check that gcloud works, and return the numbers of the workers that ``worker`` (``all``, ``0,2-3``) selects.

    Raises:
        AccelError: gcloud isn't installed, isn't logged in, or doesn't find the pod; or there is no such worker.
    """
    selected = select(worker, len(pod.vms) if pod.vms else gcloud.count_workers(pod, ask))
    if len(selected) > 1 and not os.path.exists(os.path.expanduser(KEY)):  # noqa: PTH110, PTH111
        # gcloud creates its key on the first connection; several connections at once would create several.
        first = ask(gcloud.ssh(pod, selected[0], "true"))
        if first.status:
            raise AccelError(f"{pod.label(selected[0])}: {gcloud.complaint(first, pod)}")
    return selected


def select(worker: str, count: int) -> tuple[str, ...]:
    """Return the workers of a selection (``all``, ``0,2-3``), each once and in order.

    Raises:
        AccelError: the selection isn't valid, or there is no such worker.
    """
    if worker.lower() == "all":
        return tuple(map(str, range(count)))
    chosen: set[int] = set()
    for part in worker.split(","):
        first, dash, last = part.strip().partition("-")
        low, high = (first, last) if dash else (first, first)
        start, end = natural(low), natural(high)
        if start is None or end is None or start > end:
            raise AccelError(f"--worker {worker}: {part!r} isn't valid; give all, or numbers such as 0,3 or 0-3")
        if end >= count:
            raise AccelError(f"--worker {worker}: there is no worker {high}; the workers are 0 to {count - 1}")
        chosen.update(range(start, end + 1))
    return tuple(map(str, sorted(chosen)))


def from_settings(settings: Settings, *, alpha: bool = False) -> Pod:
    """Return the pod that the settings name.

    Raises:
        AccelError: they name none, or gcloud would take the name for a flag.
    """
    tpu = settings[Tpu]
    if not tpu.tpu_name and not tpu.vm:
        raise AccelError("tpu_name isn't set; give --tpu_name NAME, or set tpu_name in the config file")
    for name in ("vm" if tpu.vm else "tpu_name", "tpu_zone"):
        value = settings.value(name).value
        for text in value if isinstance(value, tuple) else (value,):  # pyright: ignore[reportUnknownVariableType]
            if text is not None and (not text or str(text).startswith("-")):  # pyright: ignore[reportUnknownArgumentType]
                raise AccelError(f"{settings.origin(name)}: {text!r} isn't a valid {name}")
    return Pod(
        tpu.tpu_name or "",
        tpu.tpu_zone,
        tpu.vm,
        alpha=alpha,
        name_origin=settings.origin("vm" if tpu.vm else "tpu_name"),
        zone_origin=settings.origin("tpu_zone"),
    )


# The engine.


def make(context: LaunchContext) -> Plan:
    """Plan the training command on every worker of the pod.

    Raises:
        AccelError: the settings don't fit a pod, or gcloud can't reach it.
    """
    settings = context.settings
    pod = from_settings(settings)
    tpu = settings[Tpu]
    if settings[Launcher].no_python:
        raise AccelError(f"no_python ({settings.origin('no_python')}): a TPU runs a function of a Python script")
    python = settings[Launcher].python or "python3"
    env = {"ACCELERATE_IN_TPU_POD": "1", **shell.variables(tpu.env, settings.origin("env"))}
    words = (python, "-P", "-m", "accel_tpu", "launch", "--tpu", "--no_tpu_cluster", "--num_machines=1")
    task = Task(shlex.join((*words, *passed(settings), *context.script)), env, sudo=tpu.tpu_use_sudo, together=True)
    if context.findings.lenient:
        shown = preview(pod, "all", task)
        context.findings.notes += shown.notes
        return shown
    selected = workers(pod, "all")
    check(pod, selected[0], python, task)
    precision = settings[Precision].mixed_precision
    planned = plan(pod, selected, task, python=context.host.python, grace=float(settings[Launcher].grace))
    return planned.replace(summary=f"{planned.summary}, XLA, precision {precision}, engine tpu-pod")


def check(
    pod: Pod, worker: str, python: str, task: Task, ask: Callable[[tuple[str, ...], bytes], Answer] = gcloud.ask
) -> None:
    """Check on one worker that accel-tpu is installed.

    Raises:
        AccelError: it isn't, and the message has the command line that installs it; or the worker can't be reached.
    """
    text = shell.fed(shlex.join((python, "-c", "import accel_tpu")), sudo=task.sudo)
    answer = ask(gcloud.ssh(pod, worker, text), shell.lines(task.env))
    if not answer.status:
        return
    if answer.status == NOT_FOUND:
        raise AccelError(f"{pod.label(worker)} has no {python}; name its Python interpreter with --python")
    if "No module named" not in answer.err:
        raise AccelError(f"{pod.label(worker)}: {gcloud.complaint(answer, pod)}")
    install = shell.plain(f"{python} -m pip install accel-tpu", {}, sudo=task.sudo)
    places = tuple(map(str, range(len(pod.vms)))) if pod.vms else ("all",)
    lines = (shlex.join(gcloud.ssh(pod, place, install)) for place in places)
    raise AccelError(f"{pod.label(worker)} has no accel-tpu for {python}; install it with:", *lines)


def passed(settings: Settings) -> Iterator[str]:
    """Yield the flags for a worker's own launch, for the settings on which the script's environment depends."""
    for one, value in settings:
        wanted = one.section in PASSED_SECTIONS or one.name in PASSED
        if one.name in ALWAYS_PASSED or (wanted and value.given and value.value is not None):
            yield from _flag(one, value.value)


def _flag(one: Setting, value: object) -> tuple[str, ...]:
    flag = f"--{one.name}"
    if one.switch:
        return (flag,) if value else ()
    if isinstance(value, tuple):
        return (f"{flag}={','.join(map(str, value))}",)  # pyright: ignore[reportUnknownArgumentType]
    return (f"{flag}={value}",)


ENGINE = Engine(
    make,
    honors=(*PASSED_SECTIONS, *PASSED, "tpu_name", "tpu_zone", "tpu_use_sudo", "vm", "env"),
    ignores={
        "each worker of a pod uses all of its chips": ("num_processes", "nproc_per_node", "gpu_ids"),
        "the machines are the pod's workers": ("num_machines", "machine_rank"),
        "the processes of torch_xla find each other without it": ADDRESS,
        "it isn't passed on to the workers": (
            *("nice", "wrap", "rank_env", "enable_cpu_affinity"),
            *(Fsdp, DeepSpeed, Megatron, Parallel),
        ),
    },
    exports=False,
    remote_script=True,
)
