"""A launch config's settings of training, by accel-estimate's names."""

from __future__ import annotations

from accel_config import CATALOGUE, AccelError, layers, resolve, split
from accel_config.catalogue import DeepSpeed, Dynamo, Fsdp, Megatron, Parallel, Precision, Resources
from accel_config.checking.sharding import IN_JSON
from accel_config.settings.paradigm import paradigm
from accel_config.showing.wording import describe
from accel_estimate import Recipe
from accel_launch.planning.checks.deepspeed_json import precision, within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_config import Settings

# The keys of DeepSpeed's own json that memory depends on: those that are also our settings, and those that aren't.
SETTINGS = ("zero_stage", "offload_optimizer_device", "offload_param_device", "gradient_accumulation_steps")
ONLY_IN_JSON = {
    "reduce_bucket_size": ("zero_optimization.reduce_bucket_size", int, float),
    "overlap_comm": ("zero_optimization.overlap_comm", bool),
    "batch_size": ("train_micro_batch_size_per_gpu", int),
    "train_batch_size": ("train_batch_size", int),
}
UNSET = (None, "auto")


def read(path: str) -> Settings:
    """Return the settings of a launch config.

    Raises:
        AccelError: the file doesn't exist or has an invalid value.
    """
    found = layers(CATALOGUE, split(CATALOGUE, ["--config_file", path]), {})
    return resolve(CATALOGUE, found.values, found.notes)


def of_settings(settings: Settings) -> Recipe:
    """Return the recipe of settings of a launch.

    Raises:
        AccelError: the DeepSpeed json that they name doesn't exist or has an invalid value.
    """
    return Recipe(**_fields(settings))


def _fields(settings: Settings) -> dict[str, Any]:
    total = _ranks(settings)
    return {
        "mixed_precision": settings[Precision].mixed_precision,
        "num_processes": total,
        "processes_per_machine": max(1, total // settings[Resources].num_machines.least),
        "compile": settings[Dynamo].dynamo_backend != "no",
        **_sizes(settings),
        **_paradigm(settings),
    }


def _ranks(settings: Settings) -> int:
    """Return the number of ranks; for a range of machines, with the fewest, since then each rank holds most."""
    resources = settings[Resources]
    return resources.num_processes or (resources.nproc_per_node or 1) * resources.num_machines.least


def _paradigm(settings: Settings) -> dict[str, Any]:
    kinds = {"DEEPSPEED": _deepspeed, "FSDP": _fsdp, "MEGATRON_LM": _megatron}
    kind = paradigm(settings).kind
    return kinds[kind](settings) if kind in kinds else {}


def _sizes(settings: Settings) -> dict[str, Any]:
    sizes = settings[Parallel]
    return {"tp": sizes.parallelism_config_tp_size, "cp": sizes.parallelism_config_cp_size}


def _deepspeed(settings: Settings) -> dict[str, Any]:
    """Return what DeepSpeed divides and offloads; a value in its own json, if there is one, wins."""
    deepspeed = settings[DeepSpeed]
    own = _json(settings, deepspeed.deepspeed_config_file) if deepspeed.deepspeed_config_file else {}
    stage = own.get("zero_stage", deepspeed.zero_stage)
    passes = own.get("gradient_accumulation_steps", deepspeed.gradient_accumulation_steps) or 1
    of_all = own.pop("train_batch_size", None)
    if of_all is not None:  # DeepSpeed divides it, unless each device has its own
        own.setdefault("batch_size", max(1, of_all // (passes * _ranks(settings))))
    return {
        "zero_stage": stage if stage is not None else 2 if deepspeed.deepspeed_config_file is None else 0,
        "offload_optimizer_device": own.get("offload_optimizer_device", deepspeed.offload_optimizer_device) or "none",
        "offload_param_device": own.get("offload_param_device", deepspeed.offload_param_device) or "none",
        "gradient_accumulation": passes,
        **{name: own[name] for name in ("mixed_precision", *ONLY_IN_JSON) if name in own},
    }


def _json(settings: Settings, path: str) -> dict[str, Any]:
    """Return the values in DeepSpeed's json by our names, without those that are unset (``auto``).

    Raises:
        AccelError: the json can't be read, or has an invalid value.
    """
    import json
    from pathlib import Path

    origin = settings.value("deepspeed_config_file").origin
    try:
        held: object = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or error
        raise AccelError(f"{describe(settings, 'deepspeed_config_file')} can't be read: {why}") from None
    if not isinstance(held, dict):
        raise AccelError(f"{describe(settings, 'deepspeed_config_file')} isn't a DeepSpeed configuration")
    values: dict[str, object] = held  # pyright: ignore[reportUnknownVariableType]
    own: dict[str, Any] = {"mixed_precision": precision(values)}
    for name in SETTINGS:
        value = within(values, IN_JSON[name])
        own[name] = value if value in UNSET else CATALOGUE.by_name[name].parse(value, origin)
    for name, (key, *kinds) in ONLY_IN_JSON.items():
        value = within(values, key)
        own[name] = value if type(value) in kinds else None  # true isn't the number 1
    return {name: value for name, value in own.items() if value not in UNSET}


def _fsdp(settings: Settings) -> dict[str, Any]:
    """Return what FSDP shards. Version 1 has its strategy in either of two keys; version 2 has true and false."""
    fsdp = settings[Fsdp]
    strategy = fsdp.fsdp_reshard_after_forward.lower()
    if strategy in ("true", "false") and fsdp.fsdp_version == 1:
        strategy = fsdp.fsdp_sharding_strategy.lower()
    kinds = {"full_shard": "full", "true": "full", "shard_grad_op": "grad_op", "false": "grad_op", "no_shard": "none"}
    return {
        "fsdp": kinds.get(strategy, "hybrid"),
        "fsdp_version": fsdp.fsdp_version,
        "wrap": "model" if (fsdp.fsdp_auto_wrap_policy or "NO_WRAP") == "NO_WRAP" else "layer",
        "offload_param_device": "cpu" if fsdp.fsdp_offload_params else "none",
        "gradient_checkpointing": "full" if fsdp.fsdp_activation_checkpointing else "none",
        "use_reentrant": "false" if fsdp.fsdp_activation_checkpointing else "auto",
        **_replicas(settings),
    }


def _replicas(settings: Settings) -> dict[str, Any]:
    """Return FSDP's settings for several replicas; each shards by itself, as a machine does in hybrid mode."""
    sizes = settings[Parallel]
    if sizes.parallelism_config_dp_replicate_size == 1:
        return {}
    each = _ranks(settings) // sizes.parallelism_config_dp_replicate_size
    return {"fsdp": "hybrid", "processes_per_machine": max(1, each)}


def _megatron(settings: Settings) -> dict[str, Any]:
    megatron = settings[Megatron]
    selective = megatron.megatron_lm_recompute_activations
    return {
        "tp": megatron.megatron_lm_tp_degree,
        "pp": megatron.megatron_lm_pp_degree,
        "cp": megatron.megatron_lm_context_parallel_size,
        "ep": megatron.megatron_lm_expert_model_parallel_size or 1,
        "sequence_parallel": bool(megatron.megatron_lm_sequence_parallelism),
        "micro_batches": megatron.megatron_lm_num_micro_batches or 0,
        "gradient_checkpointing": "selective" if selective else megatron.megatron_lm_recompute_granularity or "none",
        "recompute_method": megatron.megatron_lm_recompute_method or "uniform",
        "recompute_num_layers": megatron.megatron_lm_recompute_num_layers or 1,
        "megatron": "distributed" if megatron.megatron_lm_use_distributed_optimizer else "whole",
    }
