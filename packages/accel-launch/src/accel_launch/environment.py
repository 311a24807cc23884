"""The variables that the script is given, the same for every rank of this machine."""

from __future__ import annotations

from accel_config.catalogue import DeepSpeed, Fsdp, Launcher, Resources
from accel_config.catalogue.parallel import in_force
from accel_config.environ import exported
from accel_config.origin import FILE

from .devices import BY_KIND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings import Settings

    from .host import Host
    from .layout import Layout

# A sharding strategy of FSDP 1, and whether parameters are sharded again after the forward pass in FSDP 2's terms.
RESHARDS = {
    "FULL_SHARD": "true",
    "HYBRID_SHARD": "true",
    "SHARD_GRAD_OP": "false",
    "HYBRID_SHARD_ZERO2": "false",
    "NO_SHARD": "false",
}
# How each version of FSDP writes checkpoints by itself.
STATE_DICTS = {1: "FULL_STATE_DICT", 2: "SHARDED_STATE_DICT"}


def variables(settings: Settings, host: Host, laid: Layout) -> tuple[dict[str, str], list[str]]:
    """Return the variables to add to the environment, and a note on each that replaces one the user had set."""
    found, origins = _told(settings)
    found.update(_fsdp(settings, laid))
    for part in (_cpu, _state_dict, _parallelism, _deepspeed, _debug, _threads, _devices, _nccl):
        found.update(part(settings, host, laid))
    if laid.kind != "FSDP" and not laid.cpu and laid.kind != "NO":
        found.pop("ACCELERATE_USE_CPU", None)
    return found, _replaced(host, found, origins)


def portable(settings: Settings, laid: Layout) -> dict[str, str]:
    """Return the variables that follow from the settings alone, for a job on machines that aren't known here."""
    found, _origins = _told(settings)
    if not laid.cpu:
        found.pop("ACCELERATE_USE_CPU", None)
    return {**found, **_fsdp(settings, laid)}


def _told(settings: Settings) -> tuple[dict[str, str], dict[str, str]]:
    """Return the variables that spell settings in force, and the origin of each."""
    told = tuple(exported(settings))
    return {name: text for name, text, _origin in told}, {name: origin for name, _text, origin in told}


def _replaced(host: Host, found: dict[str, str], origins: dict[str, str]) -> list[str]:
    """Say which variables of the user are given another value, except those that we narrow."""
    return [
        f"{name}={host.environ[name]} in the environment is replaced by {text} ({origin}): "
        "variables that scripts read don't set anything here"
        for name, text in found.items()
        if (origin := origins.get(name)) and host.environ.get(name, text).lower() != text.lower()
    ]


def _cpu(settings: Settings, _host: Host, laid: Layout) -> dict[str, str]:
    """Tell the library the CPU; with DeepSpeed it would then run plain DDP, so there it is left to the user."""
    if laid.kind == "DEEPSPEED" and not settings.paradigm.cpu:
        return {}
    found = {"ACCELERATE_USE_CPU": str(laid.cpu)}
    if laid.cpu and laid.local == 1:
        found.update({"KMP_AFFINITY": "granularity=fine,compact,1,0", "KMP_BLOCKTIME": "1"})
    return found


def _fsdp(settings: Settings, laid: Layout) -> dict[str, str]:
    """Say the sharding in the words of the version: a file may hold those of the other one."""
    if laid.kind != "FSDP":
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


def _state_dict(settings: Settings, host: Host, laid: Layout) -> dict[str, str]:
    """Say how checkpoints are written where nobody does: the library's plugin and its state assume different ones."""
    if laid.kind != "FSDP" or settings[Fsdp].fsdp_state_dict_type or host.environ.get("FSDP_STATE_DICT_TYPE"):
        return {}
    return {"FSDP_STATE_DICT_TYPE": STATE_DICTS[settings[Fsdp].fsdp_version]}


def _parallelism(settings: Settings, _host: Host, laid: Layout) -> dict[str, str]:
    """Say over how many ranks FSDP shards where nobody did: the library takes 1, and then the sizes don't add up."""
    if not in_force(settings):
        return {}
    from accel_config.parallelism import shard_size

    return {"PARALLELISM_CONFIG_DP_SHARD_SIZE": str(shard_size(settings, laid.total))}


def _deepspeed(settings: Settings, host: Host, laid: Layout) -> dict[str, str]:
    if laid.kind != "DEEPSPEED":
        return {}
    # The library refuses a DeepSpeed json beside the fields that the accelerate config itself sets.
    names = [one.name for one in DeepSpeed.settings if settings.value(one.name).origin.layer == FILE]
    if settings.value("mixed_precision").origin.layer == FILE:
        names.append("mixed_precision")
    path = [host.environ["PYTHONPATH"]] if host.environ.get("PYTHONPATH") else []
    return {"ACCELERATE_CONFIG_DS_FIELDS": ",".join(names), "PYTHONPATH": ":".join([*path, host.cwd])}


def _debug(settings: Settings, host: Host, _laid: Layout) -> dict[str, str]:
    if settings[Launcher].debug and not host.environ.get("TORCH_DISTRIBUTED_DEBUG"):
        return {"TORCH_DISTRIBUTED_DEBUG": "DETAIL"}
    return {}


def _threads(settings: Settings, host: Host, laid: Layout) -> dict[str, str]:
    """OMP_NUM_THREADS: the flag, else the user's own, else this machine's share of cores for each rank."""
    asked = settings[Resources].num_cpu_threads_per_process
    if asked is not None:
        return {"OMP_NUM_THREADS": str(asked)}
    own = host.environ.get("OMP_NUM_THREADS", "")
    if own.isdecimal() and int(own) > 0:
        return {}
    granted = host.environ.get("SLURM_CPUS_PER_TASK", "")
    if laid.task is not None and granted.isdecimal():  # then our cores may be this task's own already
        return {"OMP_NUM_THREADS": str(max(1, min(host.cores, int(granted))))}
    return {"OMP_NUM_THREADS": str(max(1, host.cores // laid.local))}


def _devices(_settings: Settings, host: Host, laid: Layout) -> dict[str, str]:
    if laid.narrowed is None or laid.cpu:
        return {}
    kind = host.devices[0].kind if host.devices else "GPU"
    return {BY_KIND[kind].variables[0]: ",".join(laid.narrowed)}


def _nccl(_settings: Settings, host: Host, laid: Layout) -> dict[str, str]:
    """NVIDIA's RTX 40 cards have no peer-to-peer before driver 550.40.07, and NCCL must be told so."""
    cards = any("RTX 40" in device.model for device in laid.devices)
    if not cards or len(laid.devices) < 2 or _version(host.driver) >= (550, 40, 7):  # noqa: PLR2004
        return {}
    return {name: "1" for name in ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE") if not host.environ.get(name)}


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdecimal())
