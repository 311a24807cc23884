"""How many ranks there are, on which machines and devices."""

from __future__ import annotations

from accel_config.catalogue import Rendezvous, Resources
from accel_config.catalogue.hardware import MULTI_DEVICE
from accel_config.record import Record

from . import devices, schedulers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings import Settings

    from .checks import Findings
    from .devices import Device
    from .host import Host
    from .schedulers.placement import Task


class Layout(Record):
    """The ranks of the run, as seen from this machine."""

    kind: str
    """The ``distributed_type`` in force."""
    total: int
    """Ranks over all machines."""
    local: int
    """Ranks on this machine."""
    machines: int
    rank: int
    """Rank of this machine."""
    cpu: bool
    """Whether the ranks compute on the CPU, by wish or for want of a device."""
    devices: tuple[Device, ...]
    """The devices of this machine's ranks, by local rank; empty on the CPU."""
    narrowed: tuple[str, ...] | None
    """The ids that the visibility variable is to be narrowed to; None where it stays as it is."""
    task: Task | None = None
    """The rank that this process is to become, where a scheduler started one process for each."""

    @property
    def where(self) -> str:
        """The devices in words."""
        return "CPU" if self.cpu or not self.devices else f"{len(self.devices)} {self.devices[0].kind}"

    def device(self, local_rank: int) -> str | None:
        """Return the device of a local rank in words."""
        return str(self.devices[local_rank]) if local_rank < len(self.devices) else None


def lay_out(settings: Settings, host: Host, findings: Findings) -> Layout:
    """Count the ranks and give each a device.

    Raises:
        AccelError: the settings ask for more than there is.
    """
    tpu = settings.paradigm.kind == "XLA"  # its library finds the chips, and counts the processes
    found, narrowed = ((), None) if settings.paradigm.cpu or tpu else _devices(settings, host, findings)
    task = schedulers.task(settings, host.environ, host.ask)
    if task is not None:
        return _of_task(settings, task, found, narrowed, findings)
    machines = settings[Resources].num_machines
    rank = settings[Rendezvous].machine_rank or 0
    total, local = _counts(settings, len(found), machines, findings)
    cpu = settings.paradigm.cpu or (not found and total > 1 and not tpu)
    _enough(settings, total, local, found, findings)
    return Layout(
        kind=_kind(settings, total, cpu, found),
        total=total,
        local=local,
        machines=machines,
        rank=rank,
        cpu=cpu,
        devices=() if cpu else found[:local],
        narrowed=narrowed,
    )


def _of_task(
    settings: Settings, task: Task, found: tuple[Device, ...], narrowed: tuple[str, ...] | None, findings: Findings
) -> Layout:
    """Lay out the one rank that this process is: the scheduler has counted, and may have given it its own device."""
    cpu = settings.paradigm.cpu or (not found and task.total > 1 and settings.paradigm.kind != "XLA")
    if not found:
        _enough(settings, task.total, task.local, found, findings)
    if len(found) > 1 and task.local_rank >= len(found):
        findings.here(
            f"the scheduler started {task.local} tasks on this machine, each of which becomes one rank, but only "
            f"{len(found)} devices are visible{_by_ids(settings)}: start fewer, or give --cpu to train on the CPU"
        )
    return Layout(
        kind=_kind(settings, task.total, cpu, found),
        total=task.total,
        local=task.local,
        machines=task.machines or settings[Resources].num_machines,
        rank=task.machine or 0,
        cpu=cpu,
        devices=() if cpu else found,
        narrowed=narrowed,
        task=task,
    )


def elsewhere(settings: Settings) -> Layout:
    """Return the layout of a job on machines of which nothing is known here.

    Raises:
        AccelError: the ranks don't divide among the machines.
    """
    machines = settings[Resources].num_machines
    total = settings[Resources].num_processes or machines
    return Layout(
        kind=settings.paradigm.kind or "NO",
        total=total,
        local=total // machines,
        machines=machines,
        rank=0,
        cpu=settings.paradigm.cpu,
        devices=(),
        narrowed=None,
    )


def _devices(settings: Settings, host: Host, findings: Findings) -> tuple[tuple[Device, ...], tuple[str, ...] | None]:
    """Return the devices to use, and what to narrow the visibility variable to."""
    ids = settings[Resources].gpu_ids
    if not ids:
        return host.devices, None
    origin = settings.origin("gpu_ids")
    if not host.devices:
        findings.notes.append(f"gpu_ids {ids} ({origin}): no device is visible on this machine")
        return (), tuple(devices.expand(ids))
    chosen, strange = devices.select(host.devices, ids)
    if strange:
        there = ", ".join(device.id for device in host.devices)
        which = "id" if len(strange) == 1 else "ids"
        findings.here(
            f"gpu_ids {ids} ({origin}): no visible device has the {which} {', '.join(strange)}; visible: {there}"
        )
    return tuple(chosen), tuple(device.id for device in chosen)


def _counts(settings: Settings, found: int, machines: int, findings: Findings) -> tuple[int, int]:
    """Return how many ranks there are in all and on this machine: as many on each, unless it is said for this one."""
    asked, here, kind = settings.value("num_processes"), settings[Resources].nproc_per_node, settings.paradigm
    if asked.value is None and here is not None:
        asked = settings.value("nproc_per_node").replace(value=here * machines)
    if kind.kind == "NO" and (asked.value or 1) != 1 and asked.origin.layer >= kind.origin.layer:
        findings.notes.append(
            f"distributed_type is NO ({kind.origin}): one process, not {asked.value} ({asked.origin})"
        )
        return machines, 1
    if isinstance(asked.value, int):
        return asked.value, here or asked.value // machines
    if kind.kind == "NO":
        return machines, 1
    if found > 1 and not settings.given("gpu_ids"):
        findings.notes.append(f"num_processes isn't set: one for each of the {found} devices")
    return max(found, 1) * machines, max(found, 1)


def _enough(settings: Settings, total: int, local: int, found: tuple[Device, ...], findings: Findings) -> None:
    name, count = ("nproc_per_node", local) if settings.given("nproc_per_node") else ("num_processes", total)
    asked = f"{name} {count} ({settings.origin(name)})"
    paradigm = settings.paradigm
    if paradigm.cpu or local == 1:
        return
    if found and local > len(found):
        findings.here(
            f"{asked}: there are only {len(found)} devices for {local} ranks on this machine"
            f"{_by_ids(settings)}; lower it, or give --cpu to train on the CPU"
        )
    elif not found and paradigm.kind in MULTI_DEVICE:
        findings.here(
            f"{paradigm.kind} ({paradigm.origin}): no device is found on this machine; give --cpu to train on the CPU"
        )
    elif not found and paradigm.kind not in ("MULTI_CPU", "XLA"):
        findings.notes.append(f"{asked}: no device is found, so the ranks train on the CPU with gloo")


def _by_ids(settings: Settings) -> str:
    return f", by gpu_ids ({settings.origin('gpu_ids')})" if settings.given("gpu_ids") else ""


def _kind(settings: Settings, total: int, cpu: bool, found: tuple[Device, ...]) -> str:
    kind = settings.paradigm.kind
    if kind and not (kind == "NO" and total > 1):
        if kind == "MULTI_GPU" and found:
            return f"MULTI_{found[0].kind}"  # --multi_gpu means whatever devices there are
        return "MULTI_CPU" if kind in MULTI_DEVICE and cpu else kind
    if total == 1:
        return "NO"
    return "MULTI_CPU" if cpu or not found else f"MULTI_{found[0].kind}"
