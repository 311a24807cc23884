"""What can be changed so that something fits, and what each change costs: the one list of changes.

A cost is in hundredths of a step's time, and what a worse result is worth beside it; docs/estimate-formulas.md has
the table with the reasons. The costs of several changes add up.
"""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.model.sizes import DTYPES
from accel_estimate.training.recipe import ZERO_3, Recipe
from accel_estimate.training.reentrant import would_hold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from accel_estimate.serving.settings import Serving

RANK = 16
"""Rank of the adapters that a change adds."""


class Change(Record):
    """One change: its name, its cost, and the settings that it makes."""

    name: str
    cost: int
    fields: tuple[tuple[str, Any], ...]


Axis = list[Change]
"""Changes of which at most one can be made."""
Choice = tuple[Change, ...]
"""Changes that are made together."""


def _change(name: str, cost: int, **fields: Any) -> Change:
    return Change(name, cost, tuple(fields.items()))


def of_training(recipe: Recipe, *, language_head: bool, bf16: bool = True) -> list[Axis]:
    """Return the changes of a training run that can lower its memory, axis by axis, without those already made.

    The length of sequences, and how many tokens a step of the optimizer sees, are the user's: no change touches them.
    """
    return [*of_passes(recipe, language_head=language_head), *of_states(recipe, bf16=bf16)]


def of_passes(recipe: Recipe, *, language_head: bool) -> list[Axis]:
    """Return the changes of activations and of the loss."""
    return [
        _loss(recipe) if language_head else [],
        [_change("attention without scores", 3, attention="sdpa")] if recipe.attention == "eager" else [],
        of_checkpointing(recipe),
        [_change("checkpointing that isn't reentrant", 2, use_reentrant="false")] if would_hold(recipe) else [],
        list(_accumulation(recipe)),
    ]


def of_states(recipe: Recipe, *, bf16: bool = True) -> list[Axis]:
    """Return the changes of weights, gradients and the optimizer; the adapters are the last."""
    return [
        list(_precision(recipe, bf16=bf16)),
        [_change("8-bit AdamW", 35, optimizer="adamw_8bit")] if recipe.optimizer == "adamw" else [],
        list(_spread(recipe)),
        list(_adapters(recipe)),
    ]


def _loss(recipe: Recipe) -> Axis:
    chunked, fused = _change("loss in chunks", 1, loss="chunked"), _change("fused loss", 2, loss="fused")
    return {"chunked": [fused], "fused": []}.get(recipe.loss_kind, [chunked, fused])


def of_checkpointing(recipe: Recipe) -> Axis:
    """Return the kinds of checkpointing beyond the one there is; none beyond Megatron-LM's chosen modules."""
    if recipe.recompute_modules:
        return []
    found = [
        _change("selective checkpointing", 8, gradient_checkpointing="selective"),
        _change("full checkpointing", 25, gradient_checkpointing="full"),
    ]
    return found[("none", "selective", "full").index(recipe.gradient_checkpointing) :]


def _precision(recipe: Recipe, *, bf16: bool) -> Iterator[Change]:
    """Yield narrower types: without bfloat16 those of fp16, which is too narrow for weights that are trained."""
    if recipe.param_dtype != "float32":
        return
    if recipe.mixed_precision == "no":
        kind = "bf16" if bf16 else "fp16"
        yield _change(f"{kind} mixed precision", 4, mixed_precision=kind)
    if bf16:
        yield _change("bf16 weights", 30, param_dtype="bfloat16")
        if recipe.mixed_precision != "no" and recipe.trains_all:  # under FSDP it would make them float32 again
            yield _change("bf16 weights", 31, mixed_precision="no", param_dtype="bfloat16")
    elif not recipe.trains_all:
        yield _change("fp16 weights", 30, param_dtype="float16")


def _accumulation(recipe: Recipe) -> Iterator[Change]:
    """Yield smaller batches with as many more passes: a step of the optimizer sees the same sequences."""
    parts = [2**power for power in range(1, recipe.batch_size.bit_length())]
    kept = [part for part in parts if recipe.batch_size % part == 0]
    for index, part in enumerate(dict.fromkeys([*kept, recipe.batch_size] if recipe.batch_size > 1 else [])):
        yield _change(
            f"{part} passes for one",
            40 + index,
            batch_size=recipe.batch_size // part,
            gradient_accumulation=recipe.gradient_accumulation * part,
        )


def _spread(recipe: Recipe) -> Iterator[Change]:
    """Yield ways to divide what one device holds over the devices that are there, and to move it to the CPU."""
    several = recipe.num_processes > 1
    if recipe.zero_stage < 0:
        yield from _fsdp(recipe, several=several)
    if recipe.fsdp != "none":
        return
    for stage in range(max(recipe.zero_stage, 1), ZERO_3 + 1):
        name, cost, raised = f"ZeRO stage {stage}", 45 + stage, {"zero_stage": stage}
        if stage > recipe.zero_stage and several:
            yield _change(name, cost, **raised)
        if recipe.offload_optimizer_device == "none":
            yield _change(f"{name}, optimizer on the CPU", 97 + stage, **raised, offload_optimizer_device="cpu")
        if stage == ZERO_3 and recipe.offload_param_device == "none":
            yield _change(
                f"{name}, all on the CPU", 150, **raised, offload_optimizer_device="cpu", offload_param_device="cpu"
            )


def _fsdp(recipe: Recipe, *, several: bool) -> Iterator[Change]:
    if recipe.fsdp != "full" and several:
        yield _change("FSDP", 45, fsdp="full")
    if recipe.offload_param_device == "none":
        yield _change("FSDP, all on the CPU", 149, fsdp="full", offload_param_device="cpu")


def _adapters(recipe: Recipe) -> Iterator[Change]:
    if recipe.trains_all:
        yield _change("LoRA", 400, lora_rank=RANK)
    if recipe.quantize == "none":
        rank = {"lora_rank": RANK} if recipe.trains_all else {}
        cost = 500 if recipe.trains_all else 100
        yield _change("4-bit weights under LoRA", cost, **rank, quantize="nf4")
        yield _change("4-bit weights under LoRA, scales packed too", cost + 5, **rank, quantize="nf4-dq")


def of_serving(how: Serving, devices: int, *, packed: bool) -> list[Axis]:
    """Return the changes of a server: over more of the devices, a narrower cache, packed weights."""
    halves = [2**power for power in range(1, devices.bit_length())]
    over = [n for n in dict.fromkeys([*halves, devices]) if n > how.tp and devices % n == 0]
    return [
        [_change(f"over {n} devices", 10 + index, tp=n) for index, n in enumerate(over)],
        [_change("cache in 8 bits", 25, kv_dtype="float8")] if how.kv_dtype != "float8" else [],
        [] if packed or how.quantize != "none" else of_weights(how.dtype),
    ]


def of_weights(dtype: str) -> Axis:
    """Return the narrower types of weights."""
    costs = {"bfloat16": 5, "float8": 20, "int8": 21, "int4": 40}
    wider = DTYPES[: DTYPES.index(dtype) + 1] if dtype in DTYPES else ()
    return [_change(f"weights in {name}", cost, dtype=name) for name, cost in costs.items() if name not in wider]


def combinations(axes: Sequence[Axis]) -> list[Choice]:
    """Return every choice of at most one change of each axis, the cheapest first."""
    choices: list[Choice] = [()]
    for axis in axes:
        choices += [(*chosen, change) for chosen in tuple(choices) for change in axis]
    return ordered(choices)


def ordered(choices: Iterable[Choice]) -> list[Choice]:
    """Return choices with the cheapest first, and of equally cheap ones the fewest changes."""
    return sorted(choices, key=lambda chosen: (sum(change.cost for change in chosen), len(chosen)))
