"""The parallelism config: how the ranks are laid out."""

from ..origin import FILE
from ..section import Section, plain, setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Settings


def in_force(settings: "Settings") -> bool:
    """The switch, or any size; one of the file stays behind where a flag takes the run away from what it is for."""
    from .hardware import Paradigms

    if settings[Paradigms].use_parallelism_config:
        return True
    layers = [settings.value(one.name).origin.layer for one in Parallel.settings if settings.given(one.name)]
    kind = settings.paradigm
    left_behind = kind.origin.layer < FILE and kind.kind not in ("FSDP", "DEEPSPEED")
    return bool(layers) and (not left_behind or min(layers) < FILE)


def _begun(settings: "Settings") -> bool:
    return settings.given("parallelism_config_dp_replicate_size")


def _left_over(settings: "Settings") -> int:
    """Return how many ranks are left for sharding, so that the sizes multiply to the number of processes."""
    sizes = settings[Parallel]
    taken = sizes.parallelism_config_dp_replicate_size * sizes.parallelism_config_tp_size
    total = settings.value("num_processes").value
    return max(1, total // (taken * sizes.parallelism_config_cp_size)) if isinstance(total, int) else 1


class Parallel(
    Section,
    title="Parallelism config",
    key="parallelism_config",
    prefix="parallelism_config_",
    active=in_force,
    asked=lambda settings: settings.paradigm.kind == "FSDP" and settings.value("fsdp_version").value != 1,
    mark="ACCELERATE_USE_PARALLELISM_CONFIG",
):
    """Sizes of the dimensions that the ranks are laid out in."""

    parallelism_config_dp_replicate_size: int = setting(
        1,
        minimum=1,
        env="PARALLELISM_CONFIG_DP_REPLICATE_SIZE",
        gate="Do you want to lay the ranks out in several dimensions (parallelism config)?",
        ask="How many replicas of the model (data parallel, replicated)?",
        help="Replicas of the model.",
    )
    parallelism_config_tp_size: int = setting(
        1,
        minimum=1,
        env="PARALLELISM_CONFIG_TP_SIZE",
        asked=_begun,
        ask="What is the tensor parallel size?",
        help="Ranks that each layer is divided over.",
    )
    parallelism_config_cp_size: int = setting(
        1,
        minimum=1,
        env="PARALLELISM_CONFIG_CP_SIZE",
        asked=_begun,
        ask="What is the context parallel size?",
        help="Ranks that each sequence is divided over, by context parallelism. Needs FSDP version 2.",
    )
    parallelism_config_cp_backend: str = setting(
        "torch", choices=("torch",), env="PARALLELISM_CONFIG_CP_BACKEND", help="What does context parallelism."
    )
    parallelism_config_cp_comm_strategy: str = setting(
        "allgather",
        choices=("allgather", "alltoall"),
        env="PARALLELISM_CONFIG_CP_COMM_STRATEGY",
        exported=lambda settings: settings[Parallel].parallelism_config_cp_size > 1,
        asked=lambda settings: settings[Parallel].parallelism_config_cp_size > 1,
        ask="How should context parallel ranks exchange keys and values?",
        help="How context-parallel ranks exchange keys and values.",
    )
    parallelism_config_dp_shard_size: int = setting(
        1,
        minimum=1,
        env="PARALLELISM_CONFIG_DP_SHARD_SIZE",
        asked=_begun,
        ask_default=lambda settings, _machine: _left_over(settings),
        ask="Over how many ranks is each replica sharded (data parallel, sharded)?",
        help="Ranks that each replica is sharded over.",
    )
    parallelism_config_sp_size: int = setting(
        1,
        minimum=1,
        env="PARALLELISM_CONFIG_SP_SIZE",
        help="Ranks that each sequence is divided over, by DeepSpeed's sequence parallelism.",
    )
    parallelism_config_sp_backend: str = setting(
        "deepspeed",
        choices=("deepspeed",),
        env="PARALLELISM_CONFIG_SP_BACKEND",
        help="What does sequence parallelism.",
    )
    parallelism_config_sp_seq_length: int | None = setting(
        minimum=1,
        unset=("none",),
        env="PARALLELISM_CONFIG_SP_SEQ_LENGTH",
        exported=lambda settings: settings[Parallel].parallelism_config_sp_size > 1,
        help="Length of every sequence, where it doesn't vary.",
    )
    parallelism_config_sp_seq_length_is_variable: bool = setting(
        True,
        env="PARALLELISM_CONFIG_SP_SEQ_LENGTH_IS_VARIABLE",
        form=plain,
        exported=lambda settings: settings[Parallel].parallelism_config_sp_size > 1,
        help="Whether the length of sequences varies.",
    )
    parallelism_config_sp_attn_implementation: str = setting(
        "sdpa",
        env="PARALLELISM_CONFIG_SP_ATTN_IMPLEMENTATION",
        exported=lambda settings: settings[Parallel].parallelism_config_sp_size > 1,
        help="Attention under sequence parallelism: sdpa, flash_attention_2, flash_attention_3 or a kernel's name.",
    )
