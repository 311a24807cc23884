"""The parallelism config beside the other settings, whatever ranks there are."""

from __future__ import annotations

from .catalogue import Fsdp, Parallel
from .catalogue.hardware import MULTI_DEVICE
from .wording import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .settings import Settings

KERNELS = ("sdpa", "flash_attention_2", "flash_attention_3")
SIZES = tuple(f"parallelism_config_{size}_size" for size in ("dp_replicate", "dp_shard", "tp", "cp", "sp"))


def combination(settings: Settings) -> str:
    """Return what is wrong with it, nothing where it can work."""
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
