"""Buffers and gathered weights of one device, in bytes."""

from __future__ import annotations

from accel_estimate.training.recipe import ZERO_3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.training.device.rank import Rank

LIVE_PARAMETERS = 1_000_000_000
"""Parameters that ZeRO-3 keeps gathered (`stage3_max_live_parameters`), in elements."""


def communication(rank: Rank) -> float:
    """Return the bytes of buffers and gathered weights while layers run.

    DDP: buckets as large as all gradients. ZeRO: the reduce bucket, and with stage 3 the live parameters. FSDP: the
    root's weights and two layers' (the running one and the next), or all of them (grad_op, or one unit).
    """
    recipe = rank.recipe
    if recipe.fsdp != "none":
        return _gathered(rank) * rank.width
    if rank.deepspeed:
        return _bucket(rank) + (_live(rank) if recipe.zero_stage == ZERO_3 else 0)
    if recipe.data_parallel * recipe.cp > 1:
        return rank.trained.parameters * rank.trained.width
    return 0.0


def unsharded(rank: Rank) -> float:
    """Return the bytes of the gradients that FSDP hasn't scattered yet: of the root and one layer, or of all."""
    if rank.recipe.fsdp == "none" or not rank.recipe.trains_all or _whole(rank):
        return 0.0
    if rank.recipe.wrap == "model":
        return rank.stage.parameters * rank.width
    return min(rank.stage.root + rank.stage.largest_block, rank.stage.parameters) * rank.width


def _bucket(rank: Rank) -> float:
    """Return the bytes of DeepSpeed's reduce bucket, which is whole however few gradients there are; two, to overlap.

    (deepspeed/runtime/zero/stage_1_and_2.py, `ipg_buffer`; stage3.py has one.)
    """
    buckets = 2 if rank.recipe.overlap_comm and rank.recipe.zero_stage < ZERO_3 else 1
    return buckets * rank.recipe.reduce_bucket_size * rank.width if rank.recipe.zero_stage > 0 else 0.0


def _live(rank: Rank) -> float:
    """Return the bytes of the weights that ZeRO-3 keeps gathered."""
    return min(LIVE_PARAMETERS, rank.stage.parameters) * rank.width


def _gathered(rank: Rank) -> float:
    """Return the number of parameters that FSDP keeps gathered."""
    if _whole(rank):
        return 0.0
    if rank.recipe.fsdp == "grad_op" or rank.recipe.wrap == "model":
        return rank.stage.parameters
    return min(rank.stage.root + 2 * rank.stage.largest_block, rank.stage.parameters)


def _whole(rank: Rank) -> bool:
    """Return whether a device holds all that it computes with: nothing is divided, and nothing is on the CPU."""
    return rank.recipe.shards == 1 and rank.recipe.offload_param_device == "none"
