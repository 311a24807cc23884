"""Settings that can't work together, and those that have no effect: known without the machine."""

from __future__ import annotations

from .catalogue import DeepSpeed, Fsdp, Launcher, Parallel, Resources
from .origin import FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import Settings


def broken(settings: Settings) -> list[str]:
    """Return a message for each combination that can't work, naming its settings with their origins."""
    return [message for rule in RULES if (message := rule(settings))]


def hints(settings: Settings) -> list[str]:
    """Return a message for each setting that has no effect beside the others."""
    return [message for hint in HINTS if (message := hint(settings))]


def both(settings: Settings, *names: str) -> str:
    """Name settings with their values and origins."""
    return " and ".join(f"{name} {_text(settings, name)} ({settings.origin(name)})" for name in names)


def _text(settings: Settings, name: str) -> str:
    return spoken(settings.value(name).value)


def spoken(value: object) -> str:
    """Return a value as files and flags spell it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _module_without_python(settings: Settings) -> str:
    if settings[Launcher].module and settings[Launcher].no_python:
        return f"{both(settings, 'module', 'no_python')}: a module needs Python; give one of them"
    return ""


def _one_process_on_many(settings: Settings) -> str:
    asked = settings.value("num_processes")
    if settings.value("multi_gpu").given and asked.value == 1 and asked.origin.layer == 0:
        return f"{both(settings, 'multi_gpu', 'num_processes')}: several devices need at least 2 processes"
    return ""


def _one_id_on_many(settings: Settings) -> str:
    ids = settings[Resources].gpu_ids or ""
    several = settings.paradigm.kind.startswith("MULTI_") and settings.paradigm.kind != "MULTI_CPU"
    one = len([entry for entry in ids.split(",") if entry.strip()]) == 1 and "-" not in ids
    if several and one and settings[Resources].num_machines == 1:
        kind = settings.paradigm
        return f"{both(settings, 'gpu_ids')} is one device, but {kind.kind} ({kind.origin}) needs several"
    return ""


def _unsynced_loading(settings: Settings) -> str:
    fsdp = settings[Fsdp]
    in_force = settings.paradigm.kind == "FSDP" and fsdp.fsdp_version == 1
    if in_force and fsdp.fsdp_cpu_ram_efficient_loading and not fsdp.fsdp_sync_module_states:
        named = both(settings, "fsdp_cpu_ram_efficient_loading", "fsdp_sync_module_states")
        return f"{named}: ranks that load no weights must get them from rank 0; set the second, or unset the first"
    return ""


def _parallelism_needs_fsdp2(settings: Settings) -> str:
    if Parallel.active is None or not Parallel.active(settings):
        return ""
    kind = settings.paradigm
    if kind.kind == "DEEPSPEED" or (kind.kind == "FSDP" and settings[Fsdp].fsdp_version == 2):  # noqa: PLR2004
        return ""
    on = next((one.name for one in Parallel.settings if settings.given(one.name)), "use_parallelism_config")
    way_out = "FSDP version 2 (--use_fsdp --fsdp_version 2) or DeepSpeed"
    return f"{both(settings, on)}: the parallelism config needs {way_out}"


def _uneven(settings: Settings) -> str:
    total, machines = settings[Resources].num_processes, settings[Resources].num_machines
    if settings.paradigm.kind == "NO" or total is None or total % machines == 0:
        return ""
    return f"{both(settings, 'num_processes', 'num_machines')}: the machines can't share them evenly"


def _context_and_sequence(settings: Settings) -> str:
    sizes = settings[Parallel]
    if sizes.parallelism_config_cp_size > 1 and sizes.parallelism_config_sp_size > 1:
        named = both(settings, "parallelism_config_cp_size", "parallelism_config_sp_size")
        return f"{named}: a sequence is divided by one of them; make the other 1"
    return ""


def _world(settings: Settings) -> str:
    """The sizes multiply to the world, where both are said."""
    total = settings[Resources].num_processes
    if Parallel.active is None or not Parallel.active(settings) or total is None:
        return ""
    names = [f"parallelism_config_{size}_size" for size in ("dp_replicate", "dp_shard", "tp", "cp", "sp")]
    product = 1
    for name in names:
        product *= int(str(settings.value(name).value))
    given = [name for name in names if settings.given(name)]
    # A data-parallel size that nobody set takes what is left over.
    if product == total or ("parallelism_config_dp_shard_size" not in given and total % product == 0):
        return ""
    return f"{both(settings, *given)} multiply to {product}, but {both(settings, 'num_processes')}: they must agree"


def _checkpoint_offload(settings: Settings) -> str:
    fsdp = settings[Fsdp]
    if settings.paradigm.kind != "FSDP" or not fsdp.fsdp_activation_checkpointing_offload:
        return ""
    if fsdp.fsdp_version == 1:
        named = both(settings, "fsdp_activation_checkpointing_offload", "fsdp_version")
        return f"{named}: only version 2 offloads them"
    if not fsdp.fsdp_activation_checkpointing:
        named = both(settings, "fsdp_activation_checkpointing_offload", "fsdp_activation_checkpointing")
        return f"{named}: set the second as well"
    return ""


def _local_state_dict(settings: Settings) -> str:
    fsdp = settings[Fsdp]
    local = fsdp.fsdp_state_dict_type == "LOCAL_STATE_DICT"
    if settings.paradigm.kind == "FSDP" and fsdp.fsdp_version == 2 and local:  # noqa: PLR2004
        return (
            f"{both(settings, 'fsdp_version', 'fsdp_state_dict_type')}: take SHARDED_STATE_DICT or FULL_STATE_DICT"
        )
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
        f"{both(settings, 'deepspeed_config_file')} decides {both(settings, *names)}: the library refuses a config "
        "file that gives them beside a json; write them into the json, and leave them out here"
    )


RULES: tuple[Callable[[Settings], str], ...] = (
    _module_without_python,
    _one_process_on_many,
    _one_id_on_many,
    _unsynced_loading,
    _parallelism_needs_fsdp2,
    _uneven,
    _context_and_sequence,
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
    return f"{both(settings, *names)}: no effect below ZeRO stage 3 (zero_stage is {stage})" if names else ""


HINTS: tuple[Callable[[Settings], str], ...] = (_zero3_only, lambda settings: settings.paradigm.note)
