"""The parallelism sizes: together with the other settings, and against the number of ranks."""

from __future__ import annotations

from accel_config.catalogue import Fsdp, Megatron, Parallel
from accel_config.catalogue.hardware import MULTI_DEVICE
from accel_config.catalogue.parallel import in_force
from accel_config.settings.paradigm import paradigm
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings

KERNELS = ("sdpa", "flash_attention_2", "flash_attention_3")
SHARD = "parallelism_config_dp_shard_size"
SIZES = tuple(f"parallelism_config_{size}_size" for size in ("dp_replicate", "dp_shard", "tp", "cp", "sp"))
DEGREES = ("megatron_lm_tp_degree", "megatron_lm_pp_degree", "megatron_lm_context_parallel_size")


def combination(settings: Settings) -> str:
    """Return why the sizes can't go with the other settings; nothing if they can."""
    sizes, kind = settings[Parallel], paradigm(settings).kind
    context, sequence = sizes.parallelism_config_cp_size > 1, sizes.parallelism_config_sp_size > 1
    fsdp2 = kind == "FSDP" and settings[Fsdp].fsdp_version == 2  # noqa: PLR2004
    if context and sequence:
        named = describe(settings, "parallelism_config_cp_size", "parallelism_config_sp_size")
        return f"{named}: only one of them can divide a sequence; set the other to 1"
    if sequence and kind != "DEEPSPEED":
        named = describe(settings, "parallelism_config_sp_size")
        return f"{named}: sequence parallelism needs DeepSpeed (--use_deepspeed)"
    # Plain data parallelism over devices takes the rest, but the switch itself is for those that shard.
    plain = kind in MULTI_DEVICE and not context and not settings.given("use_parallelism_config")
    if fsdp2 or plain or (kind == "DEEPSPEED" and not context):
        return _sequence(settings) if sequence else ""
    on = next((name for name in SIZES if settings.given(name)), "use_parallelism_config")
    other = "" if context else " or DeepSpeed"
    named = "parallelism_config_cp_size" if context else on
    return f"{describe(settings, named)}: it needs FSDP version 2 (--use_fsdp --fsdp_version 2){other}"


def _sequence(settings: Settings) -> str:
    """Return what the library would reject of sequence parallelism, but only after it has started everywhere."""
    sizes = settings[Parallel]
    kernel = sizes.parallelism_config_sp_attn_implementation
    if kernel not in KERNELS and not ("/" in kernel and "flash-attn" in kernel):
        named = describe(settings, "parallelism_config_sp_attn_implementation")
        return f"{named}: use {', '.join(KERNELS)}, or a kernel of the Hub such as kernels-community/flash-attn2"
    if not sizes.parallelism_config_sp_seq_length_is_variable and sizes.parallelism_config_sp_seq_length is None:
        named = describe(settings, "parallelism_config_sp_seq_length_is_variable")
        return f"{named}: the length is needed; set --parallelism_config_sp_seq_length"
    return ""


def shard_size(settings: Settings, total: int) -> int:
    """Return over how many of ``total`` ranks a replica is sharded; under FSDP the ranks left over, unless set."""
    size = settings[Parallel].parallelism_config_dp_shard_size
    taken = _product(settings, SIZES)
    if paradigm(settings).kind != "FSDP" or settings.given(SHARD) or total % taken:
        return size
    return total // taken


def world(settings: Settings, total: int) -> str:
    """Return how the sizes don't fit ``total`` ranks; nothing if they do."""
    if in_force(settings):
        return _sizes(settings, total)
    product = _product(settings, DEGREES)
    if paradigm(settings).kind != "MEGATRON_LM" or total % product == 0:
        return ""
    return f"{_given(settings, DEGREES)} make groups of {product} ranks, which don't divide {_ranks(settings, total)}"


def _sizes(settings: Settings, total: int) -> str:
    sizes, kind = settings[Parallel], paradigm(settings).kind
    shard = shard_size(settings, total)
    product = _product(settings, SIZES) // sizes.parallelism_config_dp_shard_size * shard
    divides = kind == "DEEPSPEED" and total % product == 0  # which lays out the rest by itself
    if product != total and product > 1 and not divides:
        return (
            f"{_given(settings, SIZES)} make {product} ranks in all, but {_ranks(settings, total)}: they must agree"
        )
    if kind != "FSDP" or product == 1 or shard > 1 or sizes.parallelism_config_cp_size > 1:
        return ""
    return f"{_given(settings, SIZES)} leave FSDP no ranks to shard over; lower one, or add processes"


def _product(settings: Settings, names: tuple[str, ...]) -> int:
    values = {**vars(settings[Parallel]), **vars(settings[Megatron])}
    product = 1
    for name in names:
        product *= int(values[name])
    return product


def _given(settings: Settings, names: tuple[str, ...]) -> str:
    return describe(settings, *(name for name in names if settings.given(name)))


def _ranks(settings: Settings, total: int) -> str:
    return f"num_processes is {total} ({settings.origin('num_processes')})"
