"""What a launch config says of training, as accel-estimate calls it."""

from __future__ import annotations

from accel_config import CATALOGUE, AccelError, layers, resolve, split
from accel_config.catalogue import DeepSpeed, Dynamo, Fsdp, Megatron, Parallel, Precision, Resources
from accel_config.rules import IN_JSON
from accel_config.wording import said
from accel_estimate import Recipe
from accel_launch.checks import json_precision, within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_config import Settings

# What of DeepSpeed's own json bears on memory: our settings, and what only the json can say.
SETTINGS = ("zero_stage", "offload_optimizer_device", "offload_param_device", "gradient_accumulation_steps")
ONLY_THERE = {
    "reduce_bucket_size": ("zero_optimization.reduce_bucket_size", int, float),
    "overlap_comm": ("zero_optimization.overlap_comm", bool),
}
LEFT_OPEN = (None, "auto")


def recipe(path: str) -> Recipe:
    """Return what a launch config says of training.

    Raises:
        AccelError: the file isn't there, or holds what can't be; or so does the DeepSpeed json that it names.
    """
    found = layers(CATALOGUE, split(CATALOGUE, ["--config_file", path]), {})
    return Recipe(**_said(resolve(CATALOGUE, found.values, found.notes)))


def _said(settings: Settings) -> dict[str, Any]:
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
    """Return how many ranks there are: of a range of machines, with the fewest, since then each holds most."""
    resources = settings[Resources]
    return resources.num_processes or (resources.nproc_per_node or 1) * resources.num_machines.least


def _paradigm(settings: Settings) -> dict[str, Any]:
    kinds = {"DEEPSPEED": _deepspeed, "FSDP": _fsdp, "MEGATRON_LM": _megatron}
    kind = settings.paradigm.kind
    return kinds[kind](settings) if kind in kinds else {}


def _sizes(settings: Settings) -> dict[str, Any]:
    sizes = settings[Parallel]
    return {"tp": sizes.parallelism_config_tp_size, "cp": sizes.parallelism_config_cp_size}


def _deepspeed(settings: Settings) -> dict[str, Any]:
    """Return what DeepSpeed divides and offloads; its own json, where there is one, decides what it says."""
    deepspeed = settings[DeepSpeed]
    own = _json(settings, deepspeed.deepspeed_config_file) if deepspeed.deepspeed_config_file else {}
    stage = own.get("zero_stage", deepspeed.zero_stage)
    return {
        "zero_stage": stage if stage is not None else 2 if deepspeed.deepspeed_config_file is None else 0,
        "offload_optimizer_device": own.get("offload_optimizer_device", deepspeed.offload_optimizer_device) or "none",
        "offload_param_device": own.get("offload_param_device", deepspeed.offload_param_device) or "none",
        "gradient_accumulation": own.get("gradient_accumulation_steps", deepspeed.gradient_accumulation_steps) or 1,
        **{name: own[name] for name in ("mixed_precision", "reduce_bucket_size", "overlap_comm") if name in own},
    }


def _json(settings: Settings, path: str) -> dict[str, Any]:
    """Return what DeepSpeed's json says, by our names; what it leaves open (``auto``) is left out.

    Raises:
        AccelError: it can't be read, or says what can't be.
    """
    import json
    from pathlib import Path

    origin = settings.value("deepspeed_config_file").origin
    try:
        held: object = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise AccelError(f"{said(settings, 'deepspeed_config_file')} can't be read: {why}") from None
    if not isinstance(held, dict):
        raise AccelError(f"{said(settings, 'deepspeed_config_file')} is no DeepSpeed configuration")
    told: dict[str, object] = held  # pyright: ignore[reportUnknownVariableType]
    own: dict[str, Any] = {"mixed_precision": json_precision(told)}
    for name in SETTINGS:
        value = within(told, IN_JSON[name])
        own[name] = value if value in LEFT_OPEN else CATALOGUE.by_name[name].parse(value, origin)
    for name, (key, *kinds) in ONLY_THERE.items():
        value = within(told, key)
        own[name] = value if isinstance(value, tuple(kinds)) else None
    return {name: value for name, value in own.items() if value not in LEFT_OPEN}


def _fsdp(settings: Settings) -> dict[str, Any]:
    """Return what FSDP shards; a strategy of version 1 may stand in either key, and version 2 has true and false."""
    fsdp = settings[Fsdp]
    asked = fsdp.fsdp_reshard_after_forward.lower()
    if asked in ("true", "false") and fsdp.fsdp_version == 1:
        asked = fsdp.fsdp_sharding_strategy.lower()
    kinds = {"full_shard": "full", "true": "full", "shard_grad_op": "grad_op", "false": "grad_op", "no_shard": "none"}
    return {
        "fsdp": kinds.get(asked, "hybrid"),
        "offload_param_device": "cpu" if fsdp.fsdp_offload_params else "none",
        "gradient_checkpointing": "full" if fsdp.fsdp_activation_checkpointing else "none",
        **_replicas(settings),
    }


def _replicas(settings: Settings) -> dict[str, Any]:
    """Return what a number of replicas makes of FSDP: each shards by itself, as if it were a machine."""
    sizes = settings[Parallel]
    if sizes.parallelism_config_dp_replicate_size == 1:
        return {}
    each = _ranks(settings) // sizes.parallelism_config_dp_replicate_size
    return {"fsdp": "hybrid", "processes_per_machine": max(1, each)}


def _megatron(settings: Settings) -> dict[str, Any]:
    megatron = settings[Megatron]
    return {
        "tp": megatron.megatron_lm_tp_degree,
        "pp": megatron.megatron_lm_pp_degree,
        "cp": megatron.megatron_lm_context_parallel_size,
        "ep": megatron.megatron_lm_expert_model_parallel_size or 1,
        "sequence_parallel": bool(megatron.megatron_lm_sequence_parallelism),
        "gradient_checkpointing": "selective" if megatron.megatron_lm_recompute_activations else "none",
    }
