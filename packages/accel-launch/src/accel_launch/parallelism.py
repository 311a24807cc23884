"""The sizes of the dimensions that ranks are laid out in, against how many ranks there are."""

from __future__ import annotations

from accel_config.catalogue import Megatron, Parallel
from accel_config.catalogue.parallel import in_force
from accel_config.errors import AccelError
from accel_config.parallelism import SIZES
from accel_config.wording import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings import Settings

    from .checks import Findings
    from .layout import Layout

DEGREES = ("megatron_lm_tp_degree", "megatron_lm_pp_degree", "megatron_lm_context_parallel_size")
SHARD = "parallelism_config_dp_shard_size"


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
        shard = shard_size(settings, laid.total)
        if not wrong and shard != settings.value(SHARD).value:
            findings.notes.append(f"{SHARD} isn't set: {shard}, the ranks that the other sizes leave over")
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
        return f"{_given(settings, SIZES)} make {product} ranks in all, but {_world(settings, laid)}: they must agree"
    if laid.kind != "FSDP" or product == 1 or shard > 1 or sizes.parallelism_config_cp_size > 1:
        return ""
    return f"{_given(settings, SIZES)} leave FSDP nothing to shard over: lower one, or add processes"


def _degrees(settings: Settings, laid: Layout) -> str:
    product = _product(settings, DEGREES)
    if laid.total % product == 0:
        return ""
    return f"{_given(settings, DEGREES)} make groups of {product} ranks, which don't divide {_world(settings, laid)}"


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
