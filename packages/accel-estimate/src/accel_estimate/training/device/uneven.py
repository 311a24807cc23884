"""The backward pass of layers of several kinds (Jamba), layer by layer: the largest isn't the last one.

In a layer the activations of those behind it are released, and their gradients are there.
"""

from __future__ import annotations

from itertools import accumulate

from accel_estimate.training.device import states
from accel_estimate.training.device.communication import forward_in, in_one_layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from accel_estimate.training.device.rank import Rank
    from accel_estimate.training.device.stage import Block
    from accel_estimate.training.device.states import Part

PARTS: tuple[Part, ...] = ("layer", "attending", "normalizing")


def known(rank: Rank) -> bool:
    """Return whether each layer is counted by itself; parallelism that spreads layers isn't."""
    return bool(rank.kept.each) and len(rank.kept.each) == len(rank.stage.each) and states.grows(rank)


def layers(rank: Rank) -> Iterator[tuple[int, Part, dict[str, Any]]]:
    """Yield the number of each layer, a part of its backward pass, and what there is beside what stands.

    These are bytes of activations (less than what is kept, if negative), gradients and communication.
    """
    blocks, kept = rank.stage.each, rank.kept.each
    released = [0.0, *accumulate(held for held, _ in reversed(kept))]
    behind = [0.0, *accumulate(block.parameters for block in reversed(blocks))]
    for index, (block, (_, added)) in enumerate(zip(blocks, kept, strict=True)):
        later = len(blocks) - 1 - index
        for part, more in zip(PARTS, added, strict=True):
            passed = _passed(rank, block, part)
            found = {
                "activations": more - released[later],
                "gradients": _gradients(rank, behind[later], passed, part),
                "communication": in_one_layer(rank, passed, index),
            }
            yield index, part, found


def forward(rank: Rank) -> tuple[float, float]:
    """Return the bytes of activations and communication that the last layer's forward pass adds to what stands."""
    return rank.kept.forward, forward_in(rank, rank.stage.each[-1])


def _passed(rank: Rank, block: Block, part: Part) -> float:
    """Return the parameters of a layer that have gradients: of experts the last matrices, which are one."""
    if part == "layer":
        return block.experts / 3 or rank.stage.largest_matrix
    return block.parameters - (block.reading if part == "attending" else 0.0)


def _gradients(rank: Rank, behind: float, passed: float, part: Part) -> float:
    """Return the bytes of gradients: with FSDP the divided ones, of the layers behind."""
    if not rank.recipe.trains_all:
        return states.accumulated(rank)
    if rank.recipe.fsdp != "none":
        divided = 0.0 if rank.recipe.offloads_states else behind * rank.gradient_width / rank.shards
        return states.accumulated(rank) or divided
    numbers = behind + passed + (rank.stage.head if rank.trains_head else 0.0)
    accumulated = states.accumulated(rank)
    return max(accumulated + states.added(rank, part), numbers * rank.gradient_width)
