"""The layout of a run: how many ranks, on which machines and devices."""

from __future__ import annotations

from accel_config.catalogue import Hardware, Rendezvous, Resources
from accel_config.catalogue.hardware import MULTI_DEVICE
from accel_config.checking.counts import idle
from accel_config.errors import AccelError
from accel_config.record import Record
from accel_config.settings.paradigm import SHARDED, alone, paradigm
from accel_config.settings.readers import TRUE
from accel_config.showing.wording import describe
from accel_launch import schedulers
from accel_launch.machine import devices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from accel_config.settings.resolved import Settings
    from accel_launch.machine.devices import Device
    from accel_launch.machine.host import Host
    from accel_launch.planning.findings import Findings
    from accel_launch.schedulers.placement import Task

FOR_SCRIPTS = "ACCELERATE_USE_CPU"
"""The launcher sets it for scripts. It reads it only to learn that MULTI_GPU may mean CPUs, as in test suites."""


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
    """Whether the ranks compute on the CPU: because a setting says so, or without a device."""
    devices: tuple[Device, ...]
    """The devices of this machine's ranks, by local rank; empty on the CPU."""
    narrowed: tuple[str, ...] | None
    """The ids for the visibility variable; None if it stays as it is."""
    task: Task | None = None
    """The rank that this process becomes, where a scheduler started one process for each rank."""

    @property
    def where(self) -> str:
        """Return the devices in words."""
        return "CPU" if self.cpu or not self.devices else f"{len(self.devices)} {self.devices[0].kind}"

    @property
    def apart(self) -> bool:
        """Whether each rank must see its own device alone: of slices (MIG), a process sees only one."""
        return any(device.slice for device in self.devices)

    def own(self, local_rank: int) -> dict[str, str]:
        """Return the variable by which a rank sees its own device alone, where that must be so."""
        if not self.apart or local_rank >= len(self.devices):
            return {}
        return {devices.BY_KIND["GPU"].variables[0]: self.devices[local_rank].id}

    def device(self, local_rank: int) -> str | None:
        """Return the device of a local rank in words."""
        return str(self.devices[local_rank]) if local_rank < len(self.devices) else None


def lay_out(settings: Settings, host: Host, findings: Findings) -> Layout:
    """Return how many ranks there are, and give each a device.

    Raises:
        AccelError: the settings ask for more devices than there are.
    """
    tpu = paradigm(settings).kind == "XLA"  # torch_xla finds the chips itself, and counts the processes
    found, narrowed = ((), None) if paradigm(settings).cpu or tpu else _devices(settings, host, findings)
    task = schedulers.task(settings, host.environ, host.probe)
    if paradigm(settings).cpu and idle(settings[Resources].gpu_ids or "") is not None:
        findings.notes.append(f"{describe(settings, 'gpu_ids')}: no effect on the CPU")
    if task is not None and idle(settings[Resources].gpu_ids or "") is not None:
        findings.refuse_locally(f"{describe(settings, 'gpu_ids')}: the scheduler has chosen this task's devices")
    if task is not None:
        return _of_task(settings, host, task, (found, narrowed), findings)
    machines = settings[Resources].num_machines
    rank = settings[Rendezvous].machine_rank or 0
    total, local = counts(settings, len(found), machines, findings)
    cpu = paradigm(settings).cpu or (not found and total > 1 and not tpu)
    _enough(settings, host, (total, local), found, findings)
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
    settings: Settings,
    host: Host,
    task: Task,
    chosen: tuple[tuple[Device, ...], tuple[str, ...] | None],
    findings: Findings,
) -> Layout:
    """Lay out the one rank that this process is. The scheduler may have given it a device of its own."""
    found, narrowed = chosen
    cpu = paradigm(settings).cpu or (not found and task.total > 1 and paradigm(settings).kind != "XLA")
    if not found:
        _enough(settings, host, (task.total, task.local), found, findings)
    if len(found) > 1 and task.local_rank >= len(found):
        findings.refuse_locally(
            f"the scheduler started {task.local} tasks on this machine, and each becomes one rank, but only "
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


def lay_out_job(settings: Settings) -> Layout:
    """Return the layout of a job whose machines aren't known here.

    Raises:
        SettingError: two settings ask for different training modes.
    """
    machines = settings[Resources].num_machines
    total = settings[Resources].num_processes or machines
    return Layout(
        kind=paradigm(settings).kind or "NO",
        total=total,
        local=total // machines,
        machines=machines,
        rank=0,
        cpu=paradigm(settings).cpu,
        devices=(),
        narrowed=None,
    )


def _devices(settings: Settings, host: Host, findings: Findings) -> tuple[tuple[Device, ...], tuple[str, ...] | None]:
    """Return the devices to use, and the ids for the visibility variable."""
    ids = settings[Resources].gpu_ids
    if not ids:  # a rank of slices finds its own in the variable, so that must list them
        return host.devices, _ids(host.devices) if any(device.slice for device in host.devices) else None
    described = describe(settings, "gpu_ids")
    if idle(ids) is not None:
        return _idle(settings, host, findings, described)
    if not host.devices:
        return (), tuple(devices.expand(ids))
    chosen, unknown = devices.select(host.devices, ids)
    if unknown:
        visible = ", ".join(device.id for device in host.devices)
        which = "id" if len(unknown) == 1 else "ids"
        findings.refuse_locally(
            f"{described}: no visible device has the {which} {', '.join(unknown)}; visible: {visible}"
        )
    return tuple(chosen), _ids(chosen)


def _ids(chosen: Iterable[Device]) -> tuple[str, ...]:
    return tuple(device.id for device in chosen)


def _idle(
    settings: Settings, host: Host, findings: Findings, described: str
) -> tuple[tuple[Device, ...], tuple[str, ...] | None]:
    """Return devices that nobody computes on. They are taken; in a dry run it is only looked which are idle."""
    resources = settings[Resources]
    if not host.devices:
        return (), None
    wanted = idle(resources.gpu_ids or "") or resources.nproc_per_node
    if not wanted:
        wanted = 1 if alone(settings) else (resources.num_processes or 0) // resources.num_machines.least
    from accel_launch.sharing import choosing

    wait = settings[Hardware].wait_for_devices
    try:
        if findings.lenient:
            chosen = choosing.look(host.devices, wanted, described, findings.notes)
        else:
            chosen = choosing.choose(host.devices, wanted, wait, described, findings.notes)
    except AccelError as error:
        findings.refuse_locally(str(error))
        return host.devices, None
    return tuple(chosen), _ids(chosen)


def counts(settings: Settings, found: int, machines: int, findings: Findings) -> tuple[int, int]:
    """Return the number of ranks in all, and on this machine: equal shares, unless nproc_per_node is set."""
    asked, local, kind = settings.value("num_processes"), settings[Resources].nproc_per_node, paradigm(settings)
    if asked.value is None and local is not None:
        asked = settings.value("nproc_per_node").replace(value=local * machines)
    if alone(settings):
        if (asked.value or 1) != 1:
            findings.notes.append(
                f"distributed_type is NO ({kind.origin}): one process, not {asked.value} ({asked.origin})"
            )
        return machines, 1
    if isinstance(asked.value, int):
        return asked.value, local or asked.value // machines
    if found > 1 and not settings.given("gpu_ids") and not settings.given("preset"):
        findings.notes.append(f"num_processes isn't set: one for each of the {found} devices")
    return max(found, 1) * machines, max(found, 1)


def _enough(
    settings: Settings, host: Host, counted: tuple[int, int], found: tuple[Device, ...], findings: Findings
) -> None:
    """Check that there are devices for the ranks of this machine; ``counted`` are all ranks, and those."""
    total, local = counted
    name, count = ("nproc_per_node", local) if settings.given("nproc_per_node") else ("num_processes", total)
    asked = f"{name} {count} ({settings.origin(name)})"
    mode = paradigm(settings)
    if mode.cpu or mode.kind == "XLA":
        return
    if found and local > len(found):
        findings.refuse_locally(
            f"{asked}: there are only {len(found)} devices for {local} ranks on this machine"
            f"{_by_ids(settings)}; lower it, or give --cpu to train on the CPU"
        )
    if found and mode.kind not in ("MULTI_GPU", f"MULTI_{found[0].kind}") and mode.kind in MULTI_DEVICE:
        findings.notes.append(f"{mode.kind} ({mode.origin}): what is found on this machine is {found[0]}")
    if found:
        return
    named = _asked_for(settings)
    said = host.environ.get(FOR_SCRIPTS, "")
    why = devices.absence(host.environ)
    instead = ", so the ranks train on the CPU with gloo" if total > 1 else ", so its one process trains on the CPU"
    if named and said.lower() in TRUE:
        findings.notes.append(
            f"{named}: no device is found{why}, and {FOR_SCRIPTS}={said} in the environment{instead}"
        )
    elif named:
        findings.refuse_locally(
            f"{named}: no device is found on this machine{why}; give --cpu to train on the CPU, or --num_devices if "
            "there are some"
        )
    elif total > 1 or mode.kind in SHARDED:
        named = f"{mode.kind} ({mode.origin})" if mode.kind in SHARDED else asked
        findings.notes.append(f"{named}: no device is found{why}{instead}")


def _asked_for(settings: Settings) -> str:
    """Return the setting that asks for devices of this machine; empty without one."""
    mode = paradigm(settings)
    if mode.kind in MULTI_DEVICE:
        return f"{mode.kind} ({mode.origin})"
    # With DeepSpeed's hostfile they are those of other machines.
    ids = settings[Resources].gpu_ids and not settings.given("deepspeed_hostfile")
    return describe(settings, "gpu_ids") if ids else ""


def _by_ids(settings: Settings) -> str:
    return f", by gpu_ids ({settings.origin('gpu_ids')})" if settings.given("gpu_ids") else ""


def _kind(settings: Settings, total: int, cpu: bool, found: tuple[Device, ...]) -> str:
    kind = paradigm(settings).kind
    if kind and not (kind == "NO" and total > 1):
        if kind == "MULTI_GPU" and found:
            return f"MULTI_{found[0].kind}"  # --multi_gpu means whatever devices there are
        return "MULTI_CPU" if kind in MULTI_DEVICE and cpu else kind
    if total == 1:
        return "NO"
    return "MULTI_CPU" if cpu or not found else f"MULTI_{found[0].kind}"
