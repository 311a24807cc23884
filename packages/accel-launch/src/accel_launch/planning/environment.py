"""The variables that every rank of this machine gets."""

from __future__ import annotations

from accel_config.catalogue import DeepSpeed, Fsdp, Launcher, Resources
from accel_config.catalogue.parallel import in_force
from accel_config.checking.counts import idle
from accel_config.reading.environ import exported
from accel_config.settings.origin import FILE
from accel_config.settings.paradigm import paradigm
from accel_config.settings.readers import natural
from accel_launch.machine import flight_recorder
from accel_launch.machine.devices import BY_KIND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings
    from accel_launch.machine.host import Host
    from accel_launch.planning.layout import Layout

# Sharding strategies of FSDP 1, each with FSDP 2's answer to whether parameters are resharded after the forward pass.
RESHARDS = {
    "FULL_SHARD": "true",
    "HYBRID_SHARD": "true",
    "SHARD_GRAD_OP": "false",
    "HYBRID_SHARD_ZERO2": "false",
    "NO_SHARD": "false",
}
SLICED, ORDER = "NCCL_MULTI_RANK_GPU_ENABLE", "CUDA_DEVICE_ORDER"
# The form in which each version of FSDP writes checkpoints by default.
STATE_DICTS = {1: "FULL_STATE_DICT", 2: "SHARDED_STATE_DICT"}


def variables(settings: Settings, host: Host, layout: Layout) -> tuple[dict[str, str], list[str]]:
    """Return the variables to add to the environment, and a note about each that replaces a user's own."""
    found, origins = _exported(settings)
    found.update(_fsdp(settings, layout))
    for part in (_cpu, _state_dict, _parallelism, _deepspeed, _debug, _threads, _devices, _nccl, _recorder):
        found.update(part(settings, host, layout))
    if layout.kind != "FSDP" and not layout.cpu and layout.kind != "NO":
        found.pop("ACCELERATE_USE_CPU", None)
    return found, _replaced(host, found, origins)


def portable(settings: Settings, layout: Layout) -> dict[str, str]:
    """Return the variables that follow from the settings alone, for a job on machines that aren't known here."""
    found, _origins = _exported(settings)
    if not layout.cpu:
        found.pop("ACCELERATE_USE_CPU", None)
    return {**found, **_fsdp(settings, layout)}


def _exported(settings: Settings) -> tuple[dict[str, str], dict[str, str]]:
    """Return the variables of the settings in force, and the origin of each."""
    triples = tuple(exported(settings))
    return {name: text for name, text, _origin in triples}, {name: origin for name, _text, origin in triples}


def _replaced(host: Host, found: dict[str, str], origins: dict[str, str]) -> list[str]:
    """Return a note about each variable of the user that gets another value, except those that are narrowed."""
    return [
        f"{name}={host.environ[name]} in the environment is replaced by {text} ({origin}): "
        "the launcher doesn't read the variables of scripts"
        for name, text in found.items()
        if (origin := origins.get(name)) and host.environ.get(name, text).lower() != text.lower()
    ]


def _cpu(settings: Settings, _host: Host, layout: Layout) -> dict[str, str]:
    """Return whether to use the CPU. With DeepSpeed the library would then run plain DDP, so only if a user asks."""
    if layout.kind == "DEEPSPEED" and not paradigm(settings).cpu:
        return {}
    found = {"ACCELERATE_USE_CPU": str(layout.cpu)}
    if layout.cpu and layout.local == 1:
        found.update({"KMP_AFFINITY": "granularity=fine,compact,1,0", "KMP_BLOCKTIME": "1"})
    return found


def _fsdp(settings: Settings, layout: Layout) -> dict[str, str]:
    """Return the sharding in the terms of the FSDP version in use: a file may hold those of the other one."""
    if layout.kind != "FSDP":
        return {}
    fsdp = settings[Fsdp]
    reshard = fsdp.fsdp_reshard_after_forward
    if fsdp.fsdp_version == 1:
        named = reshard in RESHARDS and not settings.given("fsdp_sharding_strategy")
        return {"FSDP_SHARDING_STRATEGY": reshard} if named else {}
    if reshard in RESHARDS:
        return {"FSDP_RESHARD_AFTER_FORWARD": RESHARDS[reshard]}
    if settings.given("fsdp_sharding_strategy") and not settings.given("fsdp_reshard_after_forward"):
        return {"FSDP_RESHARD_AFTER_FORWARD": RESHARDS[fsdp.fsdp_sharding_strategy]}
    return {}


def _state_dict(settings: Settings, host: Host, layout: Layout) -> dict[str, str]:
    """Return the form of checkpoints if none is set: the library's plugin and its state assume different ones."""
    if layout.kind != "FSDP" or settings[Fsdp].fsdp_state_dict_type or host.environ.get("FSDP_STATE_DICT_TYPE"):
        return {}
    return {"FSDP_STATE_DICT_TYPE": STATE_DICTS[settings[Fsdp].fsdp_version]}


def _parallelism(settings: Settings, _host: Host, layout: Layout) -> dict[str, str]:
    """Return over how many ranks FSDP shards: the library assumes 1 if it isn't set, and the sizes don't multiply."""
    if not in_force(settings):
        return {}
    from accel_config.checking.parallelism import shard_size

    return {"PARALLELISM_CONFIG_DP_SHARD_SIZE": str(shard_size(settings, layout.total))}


def _deepspeed(settings: Settings, host: Host, layout: Layout) -> dict[str, str]:
    if layout.kind != "DEEPSPEED":
        return {}
    # The library rejects a DeepSpeed json together with these fields of the accelerate config.
    names = [setting.name for setting in DeepSpeed.settings if settings.value(setting.name).origin.layer == FILE]
    if settings.value("mixed_precision").origin.layer == FILE:
        names.append("mixed_precision")
    path = [host.environ["PYTHONPATH"]] if host.environ.get("PYTHONPATH") else []
    return {"ACCELERATE_CONFIG_DS_FIELDS": ",".join(names), "PYTHONPATH": ":".join([*path, host.cwd])}


def _debug(settings: Settings, host: Host, _layout: Layout) -> dict[str, str]:
    if settings[Launcher].debug and not host.environ.get("TORCH_DISTRIBUTED_DEBUG"):
        return {"TORCH_DISTRIBUTED_DEBUG": "INFO"}  # under DETAIL, DDP crashes on the CPU (torch 2.13 and 2.15)
    return {}


def _threads(settings: Settings, host: Host, layout: Layout) -> dict[str, str]:
    """Return OMP_NUM_THREADS: the flag, else the user's own, else each rank's share of this machine's cores."""
    asked = settings[Resources].num_cpu_threads_per_process
    if asked is not None:
        return {"OMP_NUM_THREADS": str(asked)}
    if natural(host.environ.get("OMP_NUM_THREADS", "")):
        return {}
    granted = natural(host.environ.get("SLURM_CPUS_PER_TASK", ""))
    if layout.task is not None and granted is not None:  # then the cores found may already be this task's share
        return {"OMP_NUM_THREADS": str(max(1, min(host.cores, granted)))}
    return {"OMP_NUM_THREADS": str(max(1, host.cores // layout.local))}


def _devices(settings: Settings, host: Host, layout: Layout) -> dict[str, str]:
    if layout.narrowed is None or layout.cpu:
        return {}
    kind = host.devices[0].kind if host.devices else "GPU"
    visible = {BY_KIND[kind].variables[0]: ",".join(layout.narrowed)}
    if len({device.model for device in host.devices}) > 1 and idle(settings[Resources].gpu_ids or "") is not None:
        # These are the driver's numbers. By itself CUDA numbers cards that differ by their speed.
        visible.update({ORDER: "PCI_BUS_ID"} if kind == "GPU" and not host.environ.get(ORDER) else {})
    return visible


def _nccl(_settings: Settings, host: Host, layout: Layout) -> dict[str, str]:
    """Permit several slices of one GPU; switch peer-to-peer off for RTX 40 cards, which lack it before 550.40.07."""
    if layout.apart and layout.local > 1:  # versions of NCCL that can't do it ignore the variable
        return {} if host.environ.get(SLICED) else {SLICED: "1"}
    cards = any("RTX 40" in device.model for device in layout.devices)
    if not cards or len(layout.devices) < 2 or _version(host.driver) >= (550, 40, 7):  # noqa: PLR2004
        return {}
    return {name: "1" for name in ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE") if not host.environ.get(name)}


def _recorder(_settings: Settings, host: Host, layout: Layout) -> dict[str, str]:
    """Switch on torch's flight recorder where it writes what it has recorded: with NCCL, and what is made like it."""
    if layout.cpu or layout.total < 2:  # noqa: PLR2004
        return {}
    return flight_recorder.variables(host.probe.packages.flight_recorder(), host.environ)


def _version(text: str) -> tuple[int, ...]:
    return tuple(number for part in text.split(".") if (number := natural(part)) is not None)
