"""How many processes there are: on each machine, on how many machines, on which devices."""

from __future__ import annotations

from accel_config.catalogue import Resources, Scheduler
from accel_config.settings.paradigm import alone, paradigm
from accel_config.settings.readers import natural
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings

MOST_RANKS = 10_000
"""Ranks of one machine: none has memory for more, and a plan of more would take minutes to make."""


def uneven(settings: Settings) -> str:
    """Return why the machines can't share the processes."""
    resources = settings[Resources]
    total, machines = resources.num_processes, resources.num_machines
    if alone(settings) or total is None or machines.elastic or settings.value("hosts").value is not None:
        return ""  # each of several hosts has a number of its own
    if resources.nproc_per_node is not None:
        return _too_few(settings, total, machines, resources.nproc_per_node)
    if total % machines == 0:
        return ""
    low, high = total // machines * machines, (total // machines + 1) * machines
    both = describe(settings, "num_processes", "num_machines")
    return f"{both}: the machines can't share them evenly; make it {f'{low} or ' if low else ''}{high}"


def _too_few(settings: Settings, total: int, machines: int, own: int) -> str:
    others = machines - 1
    if own + others <= total and (others or own == total):
        return ""
    three = describe(settings, "num_processes", "num_machines", "nproc_per_node")
    return f"{three}: {own} on this machine and {_at_least(others)} don't make {total} processes"


def _at_least(others: int) -> str:
    return "at least 1 on each other machine" if others else "no other machine"


def crowded(settings: Settings) -> str:
    """Return why a machine can't run so many ranks."""
    resources = settings[Resources]
    if alone(settings):
        return ""
    if (resources.nproc_per_node or 0) > MOST_RANKS:
        return f"{describe(settings, 'nproc_per_node')}: a machine can run at most {MOST_RANKS} ranks"
    if (resources.num_processes or 0) > resources.num_machines * MOST_RANKS:
        return f"{describe(settings, 'num_processes', 'num_machines')}: a machine can run at most {MOST_RANKS} ranks"
    return ""


def elastic(settings: Settings) -> str:
    """Return why the number of machines can't be a range."""
    resources, backend = settings[Resources], settings.value("rdzv_backend")
    if not resources.num_machines.elastic:
        return ""
    if resources.nproc_per_node is None or resources.num_processes is not None:
        named = ("num_machines",) if resources.num_processes is None else ("num_machines", "num_processes")
        why = "the total depends on how many machines join; set nproc_per_node, and leave out num_processes"
        return f"{describe(settings, *named)}: {why}"
    if backend.given and backend.value == "static":
        both = describe(settings, "num_machines", "rdzv_backend")
        return f"{both}: with static no machine can join later; use c10d, the default here"
    return ""


def one_process_on_many(settings: Settings) -> str:
    """Return why one process can't use several devices."""
    asked = settings.value("num_processes")
    if settings.value("multi_gpu").given and asked.value == 1 and asked.origin.layer == 0:
        return f"{describe(settings, 'multi_gpu', 'num_processes')}: several devices need at least 2 processes"
    return ""


def one_id_on_many(settings: Settings) -> str:
    """Return why one device isn't enough."""
    ids = settings[Resources].gpu_ids or ""
    several = paradigm(settings).kind.startswith("MULTI_") and paradigm(settings).kind != "MULTI_CPU"
    asked = idle(ids)
    listed = len([entry for entry in ids.split(",") if entry.strip()]) == 1 and "-" not in ids
    one = listed if asked is None else asked == 1
    if several and one and settings[Resources].num_machines == 1:
        kind = paradigm(settings)
        return f"{describe(settings, 'gpu_ids')} is one device, but {kind.kind} ({kind.origin}) needs several"
    return ""


def idle(ids: str) -> int | None:
    """Return how many idle devices ``gpu_ids`` asks for: ``idle:2``, or 0 for ``idle``; None for other ids."""
    word, colon, count = ids.strip().partition(":")
    if word.strip().lower() != "idle":
        return None
    return natural(count) if colon else 0


def unread_idle(settings: Settings) -> str:
    """Return why ``gpu_ids`` isn't read, or has no meaning in a job, where the scheduler chooses the devices."""
    ids, scheduler = settings[Resources].gpu_ids or "", settings[Scheduler]
    word = ids.partition(":")[0].strip().lower()
    if word != "idle":
        return ""
    if idle(ids) is None or (":" in ids and not idle(ids)):
        return f"{describe(settings, 'gpu_ids')}: write idle, or idle:2 for two idle devices"
    for name in ("slurm", "kubernetes", "submit"):
        if settings.given(name) and getattr(scheduler, name):
            return f"{describe(settings, 'gpu_ids', name)}: in a job the scheduler chooses the devices"
    return ""


def unneeded_wait(settings: Settings) -> str:
    """Return that nothing is waited for."""
    if not settings.given("wait_for_devices") or idle(settings[Resources].gpu_ids or "") is not None:
        return ""
    return f"{describe(settings, 'wait_for_devices')}: no effect, since gpu_ids isn't idle"
