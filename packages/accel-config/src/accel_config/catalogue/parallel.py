"""The parallelism config: the dimensions that ranks are arranged in."""

from accel_config.catalogue.hardware import Paradigms
from accel_config.settings.declaration import Section, setting
from accel_config.settings.origin import FILE
from accel_config.settings.paradigm import paradigm
from accel_config.settings.question import Question

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.values import Values


def in_force(settings: "Values") -> bool:
    """Return whether the sizes apply: the switch or any size is set.

    A size in the file doesn't apply where a flag selects another training mode.
    """
    if settings[Paradigms].use_parallelism_config:
        return True
    layers = [settings.value(one.name).origin.layer for one in Parallel.settings if settings.given(one.name)]
    kind = paradigm(settings)
    left_behind = kind.origin.layer < FILE and kind.kind not in ("FSDP", "DEEPSPEED")
    return bool(layers) and (not left_behind or min(layers) < FILE)


def _begun(settings: "Values") -> bool:
    return settings.given("parallelism_config_dp_replicate_size")


def _left_over(settings: "Values") -> int:
    """Return the number of ranks left for sharding, so that the product of sizes is the number of processes."""
    sizes = settings[Parallel]
    taken = sizes.parallelism_config_dp_replicate_size * sizes.parallelism_config_tp_size
    total = settings.value("num_processes").value
    return max(1, total // (taken * sizes.parallelism_config_cp_size)) if isinstance(total, int) else 1


class Parallel(
    Section,
    title="Parallelism config",
    short="parallelism",
    key="parallelism_config",
    prefix="parallelism_config_",
    active=in_force,
    asked=lambda settings: paradigm(settings).kind == "FSDP" and settings.value("fsdp_version").value != 1,
    mark="ACCELERATE_USE_PARALLELISM_CONFIG",
):
    """Sizes of the dimensions that the ranks are arranged in."""

    parallelism_config_dp_replicate_size: int = setting(
        1,
        minimum=1,
        env="PARALLELISM_CONFIG_DP_REPLICATE_SIZE",
        help="Replicas of the model.",
        ask=Question(
            "How many replicas of the model (data parallel, replicated)?",
            gate="Do you want to lay the ranks out in several dimensions (parallelism config)?",
        ),
    )
    parallelism_config_tp_size: int = setting(
        1,
        minimum=1,
        env="PARALLELISM_CONFIG_TP_SIZE",
        help="Ranks that share each layer (tensor parallelism).",
        ask=Question("What is the tensor parallel size?", when=_begun),
    )
    parallelism_config_cp_size: int = setting(
        1,
        minimum=1,
        env="PARALLELISM_CONFIG_CP_SIZE",
        help="Ranks that share each sequence (context parallelism). Needs FSDP version 2.",
        ask=Question("What is the context parallel size?", when=_begun),
    )
    parallelism_config_cp_backend: str = setting(
        "torch",
        choices=("torch",),
        env="PARALLELISM_CONFIG_CP_BACKEND",
        help="Library that does context parallelism.",
    )
    parallelism_config_cp_comm_strategy: str = setting(
        "allgather",
        choices=("allgather", "alltoall"),
        env="PARALLELISM_CONFIG_CP_COMM_STRATEGY",
        exported=lambda settings: settings[Parallel].parallelism_config_cp_size > 1,
        help="How context-parallel ranks exchange keys and values.",
        ask=Question(
            "How should context parallel ranks exchange keys and values?",
            when=lambda settings: settings[Parallel].parallelism_config_cp_size > 1,
        ),
    )
    parallelism_config_dp_shard_size: int = setting(
        1,
        minimum=1,
        env="PARALLELISM_CONFIG_DP_SHARD_SIZE",
        help="Ranks that each replica is sharded over.",
        ask=Question(
            "Over how many ranks is each replica sharded (data parallel, sharded)?",
            default=lambda settings, _machine: _left_over(settings),
            when=_begun,
        ),
    )
    parallelism_config_sp_size: int = setting(
        1,
        minimum=1,
        env="PARALLELISM_CONFIG_SP_SIZE",
        help="Ranks that share each sequence (DeepSpeed's sequence parallelism).",
    )
    parallelism_config_sp_backend: str = setting(
        "deepspeed",
        choices=("deepspeed",),
        env="PARALLELISM_CONFIG_SP_BACKEND",
        help="Library that does sequence parallelism.",
    )
    parallelism_config_sp_seq_length: int | None = setting(
        minimum=1,
        unset=("none",),
        env="PARALLELISM_CONFIG_SP_SEQ_LENGTH",
        exported=lambda settings: settings[Parallel].parallelism_config_sp_size > 1,
        help="Length of each sequence, where it doesn't vary.",
    )
    parallelism_config_sp_seq_length_is_variable: bool = setting(
        True,
        env="PARALLELISM_CONFIG_SP_SEQ_LENGTH_IS_VARIABLE",
        form=str,
        exported=lambda settings: settings[Parallel].parallelism_config_sp_size > 1,
        help="Whether the length of sequences varies.",
    )
    parallelism_config_sp_attn_implementation: str = setting(
        "sdpa",
        env="PARALLELISM_CONFIG_SP_ATTN_IMPLEMENTATION",
        exported=lambda settings: settings[Parallel].parallelism_config_sp_size > 1,
        metavar="NAME",
        help="Attention under sequence parallelism: `sdpa`, `flash_attention_2`, `flash_attention_3`, "
        "or a kernel of the Hub.",
    )
