"""Settings of FSDP, and of DeepSpeed, that can't go together or have no effect."""

from __future__ import annotations

from accel_config.catalogue import DeepSpeed, Fsdp
from accel_config.settings.origin import FILE
from accel_config.settings.paradigm import paradigm
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings

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
"""The settings that DeepSpeed's JSON file decides where there is one, with the keys there."""


def unsynced_loading(settings: Settings) -> str:
    """Return why ranks would train with weights that they never loaded."""
    fsdp = settings[Fsdp]
    in_force = paradigm(settings).kind == "FSDP" and fsdp.fsdp_version == 1
    if in_force and fsdp.fsdp_cpu_ram_efficient_loading and not fsdp.fsdp_sync_module_states:
        both = describe(settings, "fsdp_cpu_ram_efficient_loading", "fsdp_sync_module_states")
        return f"{both}: ranks that load no weights must get them from rank 0; set the second, or unset the first"
    return ""


def checkpoint_offload(settings: Settings) -> str:
    """Return why checkpointed activations can't be offloaded."""
    fsdp = settings[Fsdp]
    if paradigm(settings).kind != "FSDP" or not fsdp.fsdp_activation_checkpointing_offload:
        return ""
    if fsdp.fsdp_version == 1:
        both = describe(settings, "fsdp_activation_checkpointing_offload", "fsdp_version")
        return f"{both}: only FSDP version 2 can offload them"
    if not fsdp.fsdp_activation_checkpointing:
        both = describe(settings, "fsdp_activation_checkpointing_offload", "fsdp_activation_checkpointing")
        return f"{both}: set the second as well"
    return ""


def local_state_dict(settings: Settings) -> str:
    """Return why FSDP version 2 can't write checkpoints of this type."""
    fsdp = settings[Fsdp]
    local = fsdp.fsdp_state_dict_type == "LOCAL_STATE_DICT"
    if paradigm(settings).kind == "FSDP" and fsdp.fsdp_version == 2 and local:  # noqa: PLR2004
        both = describe(settings, "fsdp_version", "fsdp_state_dict_type")
        return f"{both}: version 2 has no such type; use SHARDED_STATE_DICT or FULL_STATE_DICT"
    return ""


def beside_json(settings: Settings) -> str:
    """Return which keys of a config file the library rejects with DeepSpeed's JSON file, whatever that holds."""
    if paradigm(settings).kind != "DEEPSPEED" or not settings[DeepSpeed].deepspeed_config_file:
        return ""
    names = [name for name in IN_JSON if settings.value(name).origin.layer == FILE]
    if not names:
        return ""
    both = f"{describe(settings, 'deepspeed_config_file')} decides {describe(settings, *names)}"
    return f"{both}: Hugging Face's library rejects them in a config file with a JSON file; set them in the JSON file"


def zero3_only(settings: Settings) -> str:
    """Return which settings have no effect below ZeRO stage 3."""
    deepspeed = settings[DeepSpeed]
    stage = 2 if deepspeed.zero_stage is None else deepspeed.zero_stage
    if paradigm(settings).kind != "DEEPSPEED" or stage == 3 or deepspeed.deepspeed_config_file:  # noqa: PLR2004
        return ""
    names = [name for name in ("zero3_init_flag", "zero3_save_16bit_model") if settings.value(name).value]
    if deepspeed.offload_param_device not in (None, "none"):
        names.append("offload_param_device")
    return f"{describe(settings, *names)}: no effect below ZeRO stage 3 (zero_stage is {stage})" if names else ""
