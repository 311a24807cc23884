"""`launch --tpu` on a TPU host: one command, whose process has torch_xla start one for each chip."""

from __future__ import annotations

import os

from accel_config.catalogue import Launcher, Precision, Tpu
from accel_config.errors import AccelError
from accel_launch import target
from accel_launch.plan import Command, Plan

from . import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_launch.engines import Order

VENDOR = "0x1ae0"  # Google's, on the PCI bus
# Its TPUs there: v2 and v3, v4, v5e, two for tests, v6e, 7x; torch_xla 2.9 counts the same.
CHIPS = frozenset(("0x0027", "0x005e", "0x0063", "0x0056", "0x0062", "0x006f", "0x0076"))
CORES = 2  # of a chip of v2 and v3; configs written for them count these as processes
INSTALL = "pip install 'accel-tpu[xla]', and on a TPU VM 'torch_xla[tpu]==2.9.*' as well"


def count_chips(root: str = "/") -> int:
    """Return how many TPU chips this machine has; ``root`` holds ``sys``."""
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


def make(order: Order, count: Callable[[], int] = count_chips) -> Plan:
    """Plan the one command.

    Raises:
        AccelError: the script lacks the function that was named, or this machine lacks what it takes.
    """
    settings = order.settings
    launcher, tpu = settings[Launcher], settings[Tpu]
    if launcher.no_python:
        raise AccelError(f"no_python ({settings.origin('no_python')}): a TPU runs a function of a Python script")
    order.unused("a TPU's workers are its pod's: --tpu_cluster runs on all of them", "num_machines")
    order.unused("torch_xla starts a process for each chip", "nproc_per_node")
    _library(order)
    processes = _processes(order, count())
    named = settings.given("main_training_function")
    kind = "module" if launcher.module else "file"
    _function(order, tpu.main_training_function, named=named)
    told = (processes, tpu.main_training_function, "named" if named else "usual", kind)
    argv = (target.interpreter(settings, order.host), "-u", spawn.__file__, *told, *order.script)
    command = Command(argv, {**order.variables, **_formats(order)}, rank=0, local_rank=0)
    return Plan("tpu", (command,), summary=_summary(order, processes))


def _library(order: Order) -> None:
    """Refuse to start without torch_xla; a named interpreter is asked when it runs."""
    if order.settings[Launcher].python is None and not order.host.ask.module("torch_xla"):
        order.findings.here(f"torch_xla isn't installed: {INSTALL}")


def _processes(order: Order, chips: int) -> str:
    """Return ``all`` for one process on each chip, ``one`` for one chip, ``spmd`` for one process with every chip."""
    settings, environ = order.settings, order.host.environ
    sharded = environ.get("XLA_USE_SPMD", "").lower() in ("1", "true")
    if settings[Tpu].tpu_spmd or sharded:
        if not settings[Tpu].tpu_spmd:
            order.findings.notes.append("XLA_USE_SPMD is set: one process with every chip, as with --tpu_spmd")
        order.unused("with SPMD there is one process", "num_processes")
        return "spmd"
    asked = settings.value("num_processes")
    device = environ.get("PJRT_DEVICE", "")
    if not chips and not device:
        order.findings.here("there is no TPU chip on this machine; PJRT_DEVICE=CPU lets torch_xla use the CPU")
    if asked.value == 1 and asked.given:
        return "one"
    wrong = asked.value is not None and chips and asked.value not in (chips, CORES * chips)
    if wrong:
        order.findings.here(
            f"num_processes {asked.value} ({asked.origin}): torch_xla starts a process for each of the {chips} "
            "chips, or one for one chip: leave it out, or make it 1"
        )
    elif asked.value is not None and not chips:
        order.findings.notes.append(f"num_processes {asked.value} ({asked.origin}): torch_xla counts for itself")
    return "all"


def _function(order: Order, name: str, *, named: bool) -> None:
    """Refuse a script that can be seen to lack the function that somebody named."""
    if not named or order.settings[Launcher].module:
        return
    path = os.path.join(order.host.cwd, order.script[0])  # noqa: PTH118
    if os.path.isfile(path) and not spawn.defines(path, name):  # noqa: PTH113
        origin = order.settings.origin("main_training_function")
        raise AccelError(f"main_training_function {name} ({origin}): {order.script[0]} has no function of that name")


def _formats(order: Order) -> dict[str, str]:
    """Have torch_xla compute in bfloat16: floats and doubles, or floats alone."""
    if order.settings[Precision].mixed_precision != "bf16":
        return {}
    return {"XLA_DOWNCAST_BF16" if order.settings[Tpu].downcast_bf16 else "XLA_USE_BF16": "1"}


def _summary(order: Order, processes: str) -> str:
    how = {"all": "a process on each device", "one": "1 process", "spmd": "1 process with every device"}[processes]
    where = order.host.environ.get("PJRT_DEVICE") or "TPU"
    return f"{how} of the {where}, XLA, precision {order.settings[Precision].mixed_precision}, engine tpu"
