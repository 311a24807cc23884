"""`estimate-memory`: accel-estimate's own command, with ``--config_file`` for the settings of a launch config."""

from __future__ import annotations

import sys

from accel_config import CATALOGUE, AccelError, layers, resolve, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from accel_config import Settings

FLAGS = ("--config_file", "--config-file")
MISSING = "needs accel-estimate: pip install accel-estimate"


def main(argv: Sequence[str] | None = None, program: str = "accelerate-estimate-memory") -> int:
    """Estimate with the arguments of a command line; return the exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        path, rest = config_file(words)
        said = {} if path is None else training(path)
    except AccelError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.status
    try:
        from accel_estimate import Recipe
        from accel_estimate.cli import main as estimate
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("accel_estimate"):
            raise
        print(f"{program}: {MISSING}", file=sys.stderr)
        return 2
    if {"-h", "--help"} & set(rest):
        print(f"{FLAGS[0]} FILE takes precision, ZeRO or FSDP and the processes from a launch config.\n")
    return estimate(rest, recipe=Recipe(**said) if said else None, prog=program)


def config_file(words: list[str]) -> tuple[str | None, list[str]]:
    """Return the launch config that the arguments name, and the other arguments.

    Raises:
        AccelError: the flag has no value.
    """
    path, rest = None, list[str]()
    following = iter(words)
    for word in following:
        flag, equals, value = word.partition("=")
        if flag not in FLAGS:
            rest.append(word)
            continue
        path = value if equals else next(following, None)
        if not path:
            raise AccelError(f"{flag} needs a value: a launch config")
    return path, rest


def training(path: str) -> dict[str, Any]:
    """Return what a launch config says of training, in `accel_estimate.Recipe`'s words.

    Raises:
        AccelError: the file isn't there, or holds what can't be.
    """
    found = layers(CATALOGUE, split(CATALOGUE, ["--config_file", path]), {})
    settings = resolve(CATALOGUE, found.values, found.notes)
    from accel_config.catalogue import Dynamo, Precision, Resources

    resources = settings[Resources]
    total = resources.num_processes or 1
    return {
        "mixed_precision": settings[Precision].mixed_precision,
        "num_processes": total,
        "processes_per_machine": max(1, total // resources.num_machines),
        "compile": settings[Dynamo].dynamo_backend != "no",
        **_sizes(settings),
        **_paradigm(settings),
    }


def _paradigm(settings: Settings) -> dict[str, Any]:
    kinds = {"DEEPSPEED": _deepspeed, "FSDP": _fsdp, "MEGATRON_LM": _megatron}
    kind = settings.paradigm.kind
    return kinds[kind](settings) if kind in kinds else {}


def _sizes(settings: Settings) -> dict[str, Any]:
    from accel_config.catalogue import Parallel

    sizes = settings[Parallel]
    return {"tp": sizes.parallelism_config_tp_size, "cp": sizes.parallelism_config_cp_size}


def _deepspeed(settings: Settings) -> dict[str, Any]:
    from accel_config.catalogue import DeepSpeed

    deepspeed = settings[DeepSpeed]
    return {
        "zero_stage": 2 if deepspeed.zero_stage is None else deepspeed.zero_stage,
        "offload_optimizer_device": deepspeed.offload_optimizer_device or "none",
        "offload_param_device": deepspeed.offload_param_device or "none",
        "gradient_accumulation": deepspeed.gradient_accumulation_steps or 1,
    }


def _fsdp(settings: Settings) -> dict[str, Any]:
    """Return what FSDP shards; a strategy of version 1 may stand in either key, and version 2 has true and false."""
    from accel_config.catalogue import Fsdp

    fsdp = settings[Fsdp]
    said = fsdp.fsdp_reshard_after_forward.lower()
    if said in ("true", "false") and fsdp.fsdp_version == 1:
        said = fsdp.fsdp_sharding_strategy.lower()
    kinds = {"full_shard": "full", "true": "full", "shard_grad_op": "grad_op", "false": "grad_op", "no_shard": "none"}
    return {
        "fsdp": kinds.get(said, "hybrid"),
        "offload_param_device": "cpu" if fsdp.fsdp_offload_params else "none",
        "gradient_checkpointing": "full" if fsdp.fsdp_activation_checkpointing else "none",
    }


def _megatron(settings: Settings) -> dict[str, Any]:
    from accel_config.catalogue import Megatron

    megatron = settings[Megatron]
    return {
        "tp": megatron.megatron_lm_tp_degree,
        "pp": megatron.megatron_lm_pp_degree,
        "cp": megatron.megatron_lm_context_parallel_size,
        "ep": megatron.megatron_lm_expert_model_parallel_size or 1,
        "sequence_parallel": bool(megatron.megatron_lm_sequence_parallelism),
        "gradient_checkpointing": "selective" if megatron.megatron_lm_recompute_activations else "none",
    }
