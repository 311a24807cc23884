"""Flags that were typed and change nothing, because a setting that they need isn't made.

A config file or a strategy may have such values: what it doesn't use is no mistake.
"""

from __future__ import annotations

from accel_estimate.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from accel_estimate.training.activations.compute import Checkpointing
    from accel_estimate.training.recipe import Recipe

    Needed = tuple[str, str, Callable[[Recipe], bool]]

_ADAPTERS: Needed = ("lora_rank", "--lora_rank", lambda r: not r.trains_all)
_ZERO: Needed = ("zero_stage", "--zero_stage 1, 2 or 3", lambda r: r.zero_stage > 0)


def _recomputing(kind: Checkpointing) -> Needed:
    return (
        "gradient_checkpointing",
        f"--megatron and --gradient_checkpointing {kind}",
        lambda r: r.megatron != "none" and r.gradient_checkpointing == kind,
    )


# For each flag: the setting that it needs, that setting as a flag, and whether a recipe makes it.
_NEEDS: dict[str, Needed] = {
    "lora_dtype": _ADAPTERS,
    "lora_dropout": _ADAPTERS,
    "transformers": (
        "framework",
        "its code: leave out --framework and --megatron",
        lambda r: r.framework == "transformers" and r.megatron == "none",
    ),
    "sync_each_batch": ("fsdp", "--fsdp", lambda r: r.fsdp != "none"),
    "processes_per_machine": ("fsdp", "--fsdp hybrid", lambda r: r.fsdp == "hybrid"),
    "reduce_bucket_size": _ZERO,
    "overlap_comm": _ZERO,
    "fsdp_version": ("fsdp", "--fsdp", lambda r: r.fsdp != "none"),
    "use_reentrant": (
        "gradient_checkpointing",
        "--gradient_checkpointing full",
        lambda r: r.gradient_checkpointing == "full",
    ),
    "wrap": ("fsdp", "--fsdp", lambda r: r.fsdp != "none"),
    "micro_batches": ("pp", "--pp", lambda r: r.pp > 1),
    "virtual_stages": ("pp", "--pp", lambda r: r.pp > 1),
    "recompute_modules": _recomputing("selective"),
    "recompute_method": _recomputing("full"),
    "recompute_num_layers": _recomputing("full"),
}


def check_packed(recipe: Recipe) -> None:
    """Check that what concerns packed weights has some, by a flag or in the model's files.

    Raises:
        UsageError: it has none.

    """
    usual = type(recipe)
    if recipe.bitsandbytes != usual.bitsandbytes and recipe.quantize not in ("nf4", "nf4-dq"):
        raise UsageError("--bitsandbytes: has no effect without --quantize nf4 or nf4-dq")
    if recipe.gptq_kernel != usual.gptq_kernel and recipe.quantize != "gptq4":
        raise UsageError("--gptq_kernel: has no effect without --quantize gptq4")


def check(recipe: Recipe, typed: Iterable[str], swept: str = "") -> None:
    """Check that each typed setting with a value of its own has an effect; what a sweep sets counts as made.

    Raises:
        UsageError: one has none.

    """
    for name in typed:
        if name not in _NEEDS or getattr(recipe, name) == getattr(type(recipe), name):
            continue
        setting, flag, made = _NEEDS[name]
        if setting != swept and not made(recipe):
            raise UsageError(f"--{name}: has no effect without {flag}")
