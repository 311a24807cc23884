"""The engine of `launch --tpu` on a TPU host: one command, from which torch_xla starts a process for each chip."""

from __future__ import annotations

import os

from accel_config.catalogue import Launcher, Precision, Tpu
from accel_config.errors import AccelError
from accel_config.settings.origin import FILE
from accel_launch.engines import ADDRESS, Command, Engine, Plan
from accel_launch.planning import target
from accel_tpu import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_launch.engines import LaunchContext

VENDOR = "0x1ae0"  # Google's number on the PCI bus
# Google's TPUs: v2 and v3, v4, v5e, two for tests, v6e, 7x; torch_xla 2.9 counts the same.
CHIPS = frozenset(("0x0027", "0x005e", "0x0063", "0x0056", "0x0062", "0x006f", "0x0076"))
CORES = 2  # of a chip of v2 and v3; configs written for them count cores as processes


def count_chips(root: str = "/") -> int:
    """Return how many TPU chips this machine has; ``root`` is the folder of ``sys``."""
    devices = os.path.join(root, "sys/bus/pci/devices")  # noqa: PTH118
    try:
        names = os.listdir(devices)  # noqa: PTH208
    except OSError:
        return 0
    facts = ((_fact(devices, name, "vendor"), _fact(devices, name, "device")) for name in names)
    return sum(1 for vendor, device in facts if vendor == VENDOR and device in CHIPS)


def _fact(*path: str) -> str:
    try:
        with open(os.path.join(*path), encoding="ascii", errors="replace") as file:  # noqa: PTH118, PTH123
            return file.read().strip()
    except OSError:
        return ""


def make(context: LaunchContext, count: Callable[[], int] = count_chips) -> Plan:
    """Plan the one command.

    Raises:
        AccelError: the script lacks the named function, or the settings don't fit a TPU.
    """
    settings = context.settings
    launcher, tpu = settings[Launcher], settings[Tpu]
    if launcher.no_python:
        raise AccelError(f"no_python ({settings.origin('no_python')}): a TPU runs a function of a Python script")
    _library(context)
    processes = _processes(context, count())
    named = settings.given("main_training_function")
    kind = "module" if launcher.module else "file"
    _function(context, tpu.main_training_function, named=named)
    words = (processes, tpu.main_training_function, "named" if named else "usual", kind)
    argv = (target.interpreter(settings, context.host), "-u", spawn.__file__, *words, *context.script)
    command = Command(argv, {**context.variables, **_formats(context)}, rank=0, local_rank=0)
    return Plan("tpu", (command,), summary=_summary(context, processes))


def _library(context: LaunchContext) -> None:
    """Refuse to start without torch_xla; with ``--python``, `spawn` checks that interpreter itself."""
    if context.settings[Launcher].python is None and not context.host.probe.packages.has("torch_xla"):
        from accel_config.showing.installing import command

        context.findings.refuse_locally(
            f"torch_xla isn't installed; run: {command('accel-tpu[xla]')}, and on a TPU VM "
            f"{command('torch_xla[tpu]==2.9.*')} too"
        )


def _processes(context: LaunchContext, chips: int) -> str:
    """Return ``all`` for one process on each chip, ``one`` for one chip, ``spmd`` for one process with every chip."""
    settings, environ = context.settings, context.host.environ
    sharded = environ.get("XLA_USE_SPMD", "").lower() in ("1", "true")
    if settings[Tpu].tpu_spmd or sharded:
        if not settings[Tpu].tpu_spmd:
            context.findings.notes.append("XLA_USE_SPMD is set, so one process uses every chip, as with --tpu_spmd")
        context.ignore("SPMD uses one process", "num_processes")
        return "spmd"
    asked = settings.value("num_processes")
    device = environ.get("PJRT_DEVICE", "")
    if not chips and not device:
        context.findings.refuse_locally(
            "this machine has no TPU chip; set PJRT_DEVICE=CPU to run torch_xla on the CPU"
        )
    if asked.value == 1 and asked.origin.layer == FILE:
        # Hugging Face's wizard, and ours, write 1 for a TPU, and their launcher starts a process for each chip.
        if chips != 1:
            context.findings.notes.append(
                f"num_processes 1 ({asked.origin}) means all chips of the host, as for Hugging Face's accelerate; "
                "give --num_processes 1 for one chip"
            )
        return "all"
    if asked.value == 1:
        return "one"
    wrong = asked.value is not None and chips and asked.value not in (chips, CORES * chips)
    if wrong:
        context.findings.refuse_locally(
            f"num_processes {asked.value} ({asked.origin}): torch_xla starts a process for each of the {chips} "
            "chips, or one process with one chip; omit it, or set it to 1"
        )
    elif asked.value is not None and not chips:
        context.findings.notes.append(
            f"num_processes {asked.value} ({asked.origin}) has no effect: torch_xla counts the devices itself"
        )
    return "all"


def _function(context: LaunchContext, name: str, *, named: bool) -> None:
    """Refuse a script that visibly lacks the function that the settings name."""
    if not named or context.settings[Launcher].module:
        return
    path = os.path.join(context.host.cwd, context.script[0])  # noqa: PTH118
    if os.path.isfile(path) and not spawn.defines(path, name):  # noqa: PTH113
        origin = context.settings.origin("main_training_function")
        raise AccelError(
            f"main_training_function {name} ({origin}): {context.script[0]} has no function of that name"
        )


def _formats(context: LaunchContext) -> dict[str, str]:
    """Return the variable that makes torch_xla compute in bfloat16: floats and doubles, or floats alone."""
    if context.settings[Precision].mixed_precision != "bf16":
        return {}
    return {"XLA_DOWNCAST_BF16" if context.settings[Tpu].downcast_bf16 else "XLA_USE_BF16": "1"}


def _summary(context: LaunchContext, processes: str) -> str:
    how = {"all": "a process on each device", "one": "1 process", "spmd": "1 process with every device"}[processes]
    where = context.host.environ.get("PJRT_DEVICE") or "TPU"
    return f"{how} of the {where}, XLA, precision {context.settings[Precision].mixed_precision}, engine tpu"


ENGINE = Engine(
    make,
    honors=("num_processes", "num_cpu_threads_per_process", "main_training_function", "tpu_spmd", "downcast_bf16"),
    ignores={
        "--tpu runs on this machine alone; --tpu_cluster runs on every worker of a pod": (
            "num_machines",
            "machine_rank",
        ),
        "torch_xla starts a process for each chip": ("nproc_per_node", "gpu_ids", "nice", "wrap", "rank_env"),
        "the processes of torch_xla find each other without it": ADDRESS,
    },
)
