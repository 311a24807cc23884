"""The sizes of the dimensions that ranks are laid out in, against how many ranks there are."""

from __future__ import annotations

from accel_config.catalogue import Fsdp, Megatron, Parallel
from accel_config.catalogue.hardware import MULTI_DEVICE
from accel_config.errors import AccelError

from .wording import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings import Settings

    from .checks import Findings
    from .layout import Layout

SIZES = tuple(f"parallelism_config_{size}_size" for size in ("dp_replicate", "dp_shard", "tp", "cp", "sp"))
DEGREES = ("megatron_lm_tp_degree", "megatron_lm_pp_degree", "megatron_lm_context_parallel_size")
KERNELS = ("sdpa", "flash_attention_2", "flash_attention_3")
SHARD = "parallelism_config_dp_shard_size"


def in_force(settings: Settings) -> bool:
    """Whether the script is told the sizes of the parallelism config."""
    return Parallel.active is not None and Parallel.active(settings)


def shard_size(settings: Settings, total: int) -> int:
    """Return over how many of ``total`` ranks a replica is sharded: under FSDP those left over, unless it is said."""
    size = settings[Parallel].parallelism_config_dp_shard_size
    taken = _product(settings, SIZES)
    if settings.paradigm.kind != "FSDP" or settings.given(SHARD) or total % taken:
        return size
    return total // taken


def check(settings: Settings, laid: Layout, findings: Findings) -> None:
    """Refuse sizes that the ranks don't fit; where nobody named their number, it is this machine that doesn't fit.

    Raises:
        AccelError: naming the sizes and the number of ranks, with their origins.
    """
    wrong = ""
    if in_force(settings):
        wrong = _sizes(settings, laid)
    elif laid.kind == "MEGATRON_LM":
        wrong = _degrees(settings, laid)
    if wrong and settings.given("num_processes"):
        raise AccelError(wrong)
    if wrong:
        findings.here(wrong)


def _sizes(settings: Settings, laid: Layout) -> str:
    sizes = settings[Parallel]
    shard = shard_size(settings, laid.total)
    product = _product(settings, SIZES) // sizes.parallelism_config_dp_shard_size * shard
    divides = laid.kind == "DEEPSPEED" and laid.total % product == 0  # which lays out the rest by itself
    if product != laid.total and product > 1 and not divides:
        return f"{_given(settings, SIZES)} multiply to {product}, but {_world(settings, laid)}: they must agree"
    if laid.kind != "FSDP" or product == 1 or shard > 1 or sizes.parallelism_config_cp_size > 1:
        return ""
    return f"{_given(settings, SIZES)} leave FSDP nothing to shard over: lower one, or add processes"


def _degrees(settings: Settings, laid: Layout) -> str:
    product = _product(settings, DEGREES)
    if laid.total % product == 0:
        return ""
    return f"{_given(settings, DEGREES)} multiply to {product}, which doesn't divide {_world(settings, laid)}"


def _product(settings: Settings, names: tuple[str, ...]) -> int:
    values = {**vars(settings[Parallel]), **vars(settings[Megatron])}
    product = 1
    for name in names:
        product *= int(values[name])
    return product


def _given(settings: Settings, names: tuple[str, ...]) -> str:
    return said(settings, *(name for name in names if settings.given(name)))


def _world(settings: Settings, laid: Layout) -> str:
    return f"num_processes is {laid.total} ({settings.origin('num_processes')})"


def combination(settings: Settings) -> str:
    """Return what is wrong with the parallelism config beside the other settings, whatever ranks there are."""
    if not in_force(settings):
        return ""
    sizes, kind = settings[Parallel], settings.paradigm.kind
    context, sequence = sizes.parallelism_config_cp_size > 1, sizes.parallelism_config_sp_size > 1
    fsdp2 = kind == "FSDP" and settings[Fsdp].fsdp_version == 2  # noqa: PLR2004
    if context and sequence:
        named = said(settings, "parallelism_config_cp_size", "parallelism_config_sp_size")
        return f"{named}: a sequence is divided by one of them; make the other 1"
    if sequence and kind != "DEEPSPEED":
        return f"{said(settings, 'parallelism_config_sp_size')}: it is DeepSpeed that does it (--use_deepspeed)"
    # Plain data parallelism over devices takes the rest, but the switch itself is for those that shard.
    plain = kind in MULTI_DEVICE and not context and not settings.given("use_parallelism_config")
    if fsdp2 or plain or (kind == "DEEPSPEED" and not context):
        return _sequence(settings) if sequence else ""
    on = next((name for name in SIZES if settings.given(name)), "use_parallelism_config")
    other = "" if context else " or DeepSpeed"
    named = "parallelism_config_cp_size" if context else on
    return f"{said(settings, named)}: it needs FSDP version 2 (--use_fsdp --fsdp_version 2){other}"


def _sequence(settings: Settings) -> str:
    """Return what the library would refuse of sequence parallelism once it has started everywhere."""
    sizes = settings[Parallel]
    kernel = sizes.parallelism_config_sp_attn_implementation
    if kernel not in KERNELS and not ("/" in kernel and "flash-attn" in kernel):
        named = said(settings, "parallelism_config_sp_attn_implementation")
        return f"{named}: take {', '.join(KERNELS)}, or a kernel of the Hub such as kernels-community/flash-attn2"
    if not sizes.parallelism_config_sp_seq_length_is_variable and sizes.parallelism_config_sp_seq_length is None:
        named = said(settings, "parallelism_config_sp_seq_length_is_variable")
        return f"{named}: then give the length, --parallelism_config_sp_seq_length"
    return ""
