"""Settings that can't work together, and those that have no effect: known without the machine."""

from __future__ import annotations

from .catalogue import DeepSpeed, Fsdp, Launcher, Mpi, Rendezvous, Resources
from .catalogue.parallel import in_force
from .origin import FILE
from .wording import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import Settings

MOST_RANKS = 10_000
"""On one machine: none has the memory for more, and to write them all down would take longer than anybody waits."""


def broken(settings: Settings) -> list[str]:
    """Return a message for each combination that can't work, naming its settings with their origins."""
    return [message for rule in RULES if (message := rule(settings))]


def hints(settings: Settings) -> list[str]:
    """Return a message for each setting that has no effect beside the others."""
    return [message for hint in HINTS if (message := hint(settings))]


def _module_without_python(settings: Settings) -> str:
    if settings[Launcher].module and settings[Launcher].no_python:
        return f"{said(settings, 'module', 'no_python')}: a module needs Python; give one of them"
    return ""


def _one_process_on_many(settings: Settings) -> str:
    asked = settings.value("num_processes")
    if settings.value("multi_gpu").given and asked.value == 1 and asked.origin.layer == 0:
        return f"{said(settings, 'multi_gpu', 'num_processes')}: several devices need at least 2 processes"
    return ""


def _one_id_on_many(settings: Settings) -> str:
    ids = settings[Resources].gpu_ids or ""
    several = settings.paradigm.kind.startswith("MULTI_") and settings.paradigm.kind != "MULTI_CPU"
    one = len([entry for entry in ids.split(",") if entry.strip()]) == 1 and "-" not in ids
    if several and one and settings[Resources].num_machines == 1:
        kind = settings.paradigm
        return f"{said(settings, 'gpu_ids')} is one device, but {kind.kind} ({kind.origin}) needs several"
    return ""


def _unsynced_loading(settings: Settings) -> str:
    fsdp = settings[Fsdp]
    in_force = settings.paradigm.kind == "FSDP" and fsdp.fsdp_version == 1
    if in_force and fsdp.fsdp_cpu_ram_efficient_loading and not fsdp.fsdp_sync_module_states:
        both = said(settings, "fsdp_cpu_ram_efficient_loading", "fsdp_sync_module_states")
        return f"{both}: ranks that load no weights must get them from rank 0; set the second, or unset the first"
    return ""


def _parallelism(settings: Settings) -> str:
    if not in_force(settings):
        return ""
    from accel_config import parallelism

    return parallelism.combination(settings)


def _checkpoint_offload(settings: Settings) -> str:
    fsdp = settings[Fsdp]
    if settings.paradigm.kind != "FSDP" or not fsdp.fsdp_activation_checkpointing_offload:
        return ""
    if fsdp.fsdp_version == 1:
        both = said(settings, "fsdp_activation_checkpointing_offload", "fsdp_version")
        return f"{both}: only version 2 offloads them"
    if not fsdp.fsdp_activation_checkpointing:
        both = said(settings, "fsdp_activation_checkpointing_offload", "fsdp_activation_checkpointing")
        return f"{both}: set the second as well"
    return ""


def _local_state_dict(settings: Settings) -> str:
    fsdp = settings[Fsdp]
    local = fsdp.fsdp_state_dict_type == "LOCAL_STATE_DICT"
    if settings.paradigm.kind == "FSDP" and fsdp.fsdp_version == 2 and local:  # noqa: PLR2004
        return f"{said(settings, 'fsdp_version', 'fsdp_state_dict_type')}: take SHARDED_STATE_DICT or FULL_STATE_DICT"
    return ""


# Where DeepSpeed's own json says what these settings say.
IN_JSON = {
    "zero_stage": "zero_optimization.stage",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "gradient_clipping": "gradient_clipping",
    "offload_optimizer_device": "zero_optimization.offload_optimizer.device",
    "offload_optimizer_nvme_path": "zero_optimization.offload_optimizer.nvme_path",
    "offload_param_device": "zero_optimization.offload_param.device",
    "offload_param_nvme_path": "zero_optimization.offload_param.nvme_path",
    "zero3_save_16bit_model": "zero_optimization.stage3_gather_16bit_weights_on_model_save",
    "mixed_precision": "fp16.enabled and bf16.enabled",
}


def _beside_json(settings: Settings) -> str:
    """The library refuses these fields of a config file beside a json, whatever the json says."""
    if settings.paradigm.kind != "DEEPSPEED" or not settings[DeepSpeed].deepspeed_config_file:
        return ""
    names = [name for name in IN_JSON if settings.value(name).origin.layer == FILE]
    if not names:
        return ""
    return (
        f"{said(settings, 'deepspeed_config_file')} decides {said(settings, *names)}: the library refuses a config "
        "file that gives them beside a json; write them into the json, and leave them out here"
    )


def _uneven(settings: Settings) -> str:
    resources = settings[Resources]
    total, machines = resources.num_processes, resources.num_machines
    if settings.paradigm.kind == "NO" or total is None or machines.elastic:
        return ""
    if resources.nproc_per_node is not None:
        return _too_few(settings, total, machines, resources.nproc_per_node)
    if total % machines == 0:
        return ""
    low, high = total // machines * machines, (total // machines + 1) * machines
    both = said(settings, "num_processes", "num_machines")
    return f"{both}: the machines can't share them evenly; make it {f'{low} or ' if low else ''}{high}"


def _crowded(settings: Settings) -> str:
    resources = settings[Resources]
    if settings.paradigm.kind == "NO":
        return ""
    if (resources.nproc_per_node or 0) > MOST_RANKS:
        return f"{said(settings, 'nproc_per_node')}: a machine runs {MOST_RANKS} ranks at most"
    if (resources.num_processes or 0) > resources.num_machines * MOST_RANKS:
        return f"{said(settings, 'num_processes', 'num_machines')}: a machine runs {MOST_RANKS} ranks at most"
    return ""


def _rank(settings: Settings) -> str:
    rank, machines = settings[Rendezvous].machine_rank, settings[Resources].num_machines
    if rank is None or machines == 1 or rank < machines or not _numbered(settings):
        return ""
    return (
        f"machine_rank is {rank} ({settings.origin('machine_rank')}), but with {machines} machines "
        f"({settings.origin('num_machines')}) it is from 0 to {machines - 1}"
    )


def _address(settings: Settings) -> str:
    address = settings[Rendezvous].main_process_ip
    if not address or settings[Resources].num_machines == 1:
        return ""
    from .address import unreachable

    why = unreachable(address)
    return f"{said(settings, 'main_process_ip')} {why}" if why else ""


def _numbered(settings: Settings) -> bool:
    """Whether each machine is launched on and told its rank; other engines number them."""
    if settings[Launcher].engine not in (None, "torchrun") or settings[Mpi].mpirun_hostfile:
        return False
    kind, launcher = settings.paradigm.kind, settings[DeepSpeed].deepspeed_multinode_launcher
    return launcher in ("standard", "nossh") if kind == "DEEPSPEED" else kind != "XLA"


def _too_few(settings: Settings, total: int, machines: int, here: int) -> str:
    others = machines - 1
    if here + others <= total and (others or here == total):
        return ""
    three = said(settings, "num_processes", "num_machines", "nproc_per_node")
    return f"{three}: there are no {total} processes with {here} on this machine and {_at_least(others)}"


def _at_least(others: int) -> str:
    return "at least one on each other" if others else "no other machine"


def _backend(settings: Settings) -> str:
    """Torch's agents would refuse it with a traceback. What another interpreter has isn't known here."""
    name = settings[Rendezvous].rdzv_backend
    several = settings[Resources].num_machines > 1 and _numbered(settings)
    if name in BACKENDS or not several or settings[Launcher].python is not None:
        return ""
    from importlib.metadata import entry_points

    if name in entry_points(group="torchrun.handlers").names:
        return ""
    return f"{said(settings, 'rdzv_backend')} is no rendezvous of torch: make it static or c10d (or etcd, etcd-v2)"


def _elastic(settings: Settings) -> str:
    resources, backend = settings[Resources], settings.value("rdzv_backend")
    if not resources.num_machines.elastic:
        return ""
    if resources.nproc_per_node is None or resources.num_processes is not None:
        named = ("num_machines",) if resources.num_processes is None else ("num_machines", "num_processes")
        why = "how many processes there are depends on how many machines come; give nproc_per_node, and no total"
        return f"{said(settings, *named)}: {why}"
    if backend.given and backend.value == "static":
        return (
            f"{said(settings, 'num_machines', 'rdzv_backend')}: static can't take in machines; leave it out for c10d"
        )
    return ""


def _world(settings: Settings) -> str:
    total = settings[Resources].num_processes
    if total is None or not (in_force(settings) or settings.paradigm.kind == "MEGATRON_LM"):
        return ""
    from accel_config import parallelism

    return parallelism.world(settings, total)


# Torch's own; others add theirs by entry points.
BACKENDS = ("static", "c10d", "etcd", "etcd-v2")

RULES: tuple[Callable[[Settings], str], ...] = (
    _uneven,
    _crowded,
    _rank,
    _address,
    _backend,
    _elastic,
    _module_without_python,
    _one_process_on_many,
    _one_id_on_many,
    _unsynced_loading,
    _parallelism,
    _world,
    _checkpoint_offload,
    _local_state_dict,
    _beside_json,
)


def _zero3_only(settings: Settings) -> str:
    deepspeed = settings[DeepSpeed]
    stage = 2 if deepspeed.zero_stage is None else deepspeed.zero_stage
    if settings.paradigm.kind != "DEEPSPEED" or stage == 3 or deepspeed.deepspeed_config_file:  # noqa: PLR2004
        return ""
    names = [name for name in ("zero3_init_flag", "zero3_save_16bit_model") if settings.value(name).value]
    if deepspeed.offload_param_device not in (None, "none"):
        names.append("offload_param_device")
    return f"{said(settings, *names)}: no effect below ZeRO stage 3 (zero_stage is {stage})" if names else ""


def _idle(settings: Settings) -> str:
    """Name what was typed, or set by variable, of sections that aren't in use; a file may hold them all."""
    idle: list[str] = []
    for section in settings.catalogue.sections:
        if section.active is None or section.active(settings):
            continue
        names = [one.name for one in section.settings if settings.given(one.name)]
        names = [name for name in names if settings.value(name).origin.layer < FILE]
        if names:
            told = ", ".join(f"{name} ({settings.origin(name)})" for name in names)
            idle.append(f"{told}: no effect, since {section.title} isn't in use")
    return "\n".join(idle)


HINTS: tuple[Callable[[Settings], str], ...] = (_zero3_only, _idle, lambda settings: settings.paradigm.note)
