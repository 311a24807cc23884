"""Buffers and gathered weights of one device, in bytes."""

from __future__ import annotations

from accel_estimate.training.device import states
from accel_estimate.training.recipe import ZERO_3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.training.device.rank import Rank
    from accel_estimate.training.device.stage import Block
    from accel_estimate.training.device.states import Part

LIVE_PARAMETERS = 1_000_000_000
"""Parameters that ZeRO-3 keeps gathered (`stage3_max_live_parameters`), in elements."""


def communication(rank: Rank) -> float:
    """Return the bytes of buffers and gathered weights in the loss, when all layers have run.

    DDP: buckets as large as all gradients. ZeRO: the reduce bucket, and with stage 3 the live parameters. FSDP: the
    root's weights, and the buffer that the last layer's are gathered in; or all weights (grad_op, or one unit). A
    mixer that is a unit inside its layer's is gathered when that begins.
    """
    recipe = rank.recipe
    if recipe.fsdp != "none":
        return 0.0 if _alone(rank) else _gathered(rank) + (0 if _stays(rank) or rank.nested else _buffer(rank))
    if recipe.megatron != "none":  # one buffer for all gathered inputs (its global memory buffer)
        gathers = recipe.tp > 1 and recipe.sequence_parallel
        return rank.row * recipe.batch_size * recipe.seq_len / recipe.cp if gathers else 0.0
    if rank.deepspeed:
        return _bucket(rank) + (_live(rank) if recipe.zero_stage == ZERO_3 else 0)
    if recipe.data_parallel * recipe.cp > 1:
        return rank.trained.parameters * rank.trained.width
    return 0.0


def in_the_loss(rank: Rank) -> float:
    """Return what FSDP adds to `communication` in the forward pass of the loss: where the last layer came in."""
    return _buffer(rank) if rank.recipe.fsdp == "grad_op" and not _alone(rank) else 0.0


def in_a_layer(rank: Rank, part: Part, *, last: bool = False, first: bool = False) -> float:
    """Return what FSDP adds to `communication` in the backward pass of a layer: the last, the first, or any between.

    The running layer's weights are gathered again, and the buffer has the next one's, but in the first. There are
    whole gradients: of the head, and of what the layer has passed. After the last layer there is also what the one
    before is reduced in.
    """
    if rank.recipe.fsdp == "none" or _alone(rank):
        return 0.0
    layer = _layer(rank)
    # FSDP 1 gathers one unit ahead, and an adapter is one: the layer comes behind those of the running layer.
    late = rank.recipe.fsdp_version == 1 and not rank.recipe.trains_all and part != "normalizing"
    again = 0.0 if _stays(rank) or first or late else _buffer(rank) * (rank.stage.before_last if last else 1.0)
    if rank.nested:  # the next one is gathered no sooner, and behind its mixer a layer has its norm alone
        again = 0.0 if _stays(rank) or part == "normalizing" else _buffer(rank)
    if again and rank.kept.encoder and not rank.kept.apart and rank.recipe.gradient_checkpointing != "none":
        again = rank.width * rank.encoder_layer  # T5's peak is in the decoder's first layer
    if rank.recipe.gradient_accumulation > 1 and not rank.recipe.sync_each_batch:
        # Gradients are whole already, and a layer's become what they are reduced in; tied ones wait to be added up.
        waiting = rank.stage.head if rank.tied and rank.trains_head and not rank.kept.apart else 0
        added = rank.added if part == rank.adding else 0.0
        return again + rank.width * (layer - min(layer, rank.stage.largest_block) + waiting + added)
    whole = (rank.stage.head if rank.trains_head else 0) + states.passed(rank, part) + (0 if last else layer)
    if rank.nested:  # what the mixer behind was reduced in is released by its layer's norm
        whole -= 0 if last else layer
    if rank.recipe.fsdp == "hybrid" and not last:  # a part that is on its way to the other machines
        whole += layer / rank.shards
    return again + _whole(rank) * whole


def in_one_layer(rank: Rank, passed: float, index: int) -> float:
    """Return FSDP's bytes in the backward pass of one of several kinds of layers, with `passed` gradients.

    The layer's weights are gathered, and what the next one's come in. There are whole gradients: of the head, of what
    the layer has passed, and what the layer behind is reduced in.
    """
    if rank.recipe.fsdp == "none" or _alone(rank):
        return communication(rank)
    each = [_padded(rank, block) for block in rank.stage.each]
    after = each[index + 1] if index + 1 < len(each) else 0.0
    width = _stored(rank) / (rank.stage.blocks or 1)
    if rank.recipe.fsdp == "grad_op" and rank.recipe.wrap == "layer":  # each layer's are released behind it
        gathered = rank.width * rank.stage.root + width * sum(each[: index + 1])
    else:
        gathered = _gathered(rank) + width * sum(each[max(index - 1, 0) : index + 1])
    if rank.recipe.gradient_accumulation > 1 and not rank.recipe.sync_each_batch:
        waiting = rank.stage.head if rank.tied and rank.trains_head else 0.0
        padding = after - rank.stage.each[index + 1].parameters if after else 0.0
        return gathered + rank.width * (waiting + padding)
    whole = (rank.stage.head if rank.trains_head else 0.0) + passed + after
    if rank.recipe.fsdp == "hybrid":  # a part that is on its way to the other machines
        whole += after / rank.shards
    return gathered + _whole(rank) * whole


def forward_in(rank: Rank, it: Block) -> float:
    """Return FSDP's bytes in the forward pass of a layer: its weights, and what they came in."""
    if rank.recipe.fsdp == "none" or _alone(rank):
        return communication(rank)
    width = _stored(rank) / (rank.stage.blocks or 1)
    return _gathered(rank) + (1 if _stays(rank) else 2) * width * _padded(rank, it)


def _padded(rank: Rank, it: Block) -> float:
    """Return the parameters that FSDP gathers of a layer."""
    return it.parameters + (rank.padding - 1) * it.experts if rank.recipe.wrap != "model" else 0.0


def in_the_embeddings(rank: Rank, *, encoder: bool) -> float:
    """Return what FSDP has at the end of the backward pass: the root and its gradients, and a layer being reduced.

    A gradient that the head and the embeddings have together is added up in a third tensor. Behind a decoder the
    encoder's last layer is gathered already, and what the encoder has outside its layers has no gradient.
    """
    if rank.recipe.fsdp == "none" or _alone(rank):
        return 0.0
    shared = 2 * rank.stage.head if rank.tied else 0
    root = rank.width * rank.stage.root
    made = rank.stage.root + shared - rank.encoder_root * encoder if rank.recipe.trains_all else 0
    gathered = 0.0 if not encoder or _stays(rank) else rank.width * rank.encoder_layer
    return root + gathered + _whole(rank) * (made + (0.0 if rank.nested else _layer(rank)))


def gathering(rank: Rank) -> tuple[float, float]:
    """Return what FSDP gathers weights in, on a stream of its own: while layers run, and at most, with the root's."""
    if _alone(rank):
        return 0.0, 0.0
    buffer = 0.0 if _stays(rank) else _buffer(rank)
    return buffer, max(_buffer(rank), rank.width * rank.stage.root)


def _whole(rank: Rank) -> float:
    """Return the bytes of a number in a gradient that FSDP hasn't divided; adapters are too small to count."""
    return rank.width if rank.recipe.trains_all else 0.0


def _layer(rank: Rank) -> float:
    """Return the number of parameters that FSDP gathers at once, beside the root."""
    if rank.kept.each and rank.stage.each:
        return max(_padded(rank, block) for block in rank.stage.each)
    padded = 1 + (rank.padding - 1) * rank.routed / (rank.stage.blocks or 1)
    return 0.0 if rank.recipe.wrap == "model" else rank.stage.largest_block * padded


def _buffer(rank: Rank) -> float:
    """Return the bytes of the weights that FSDP gathers at once: packed ones travel as they are."""
    return _layer(rank) * _stored(rank) / (rank.stage.blocks or 1)


def _stored(rank: Rank) -> float:
    """Return the bytes of all blocks as FSDP gathers them."""
    stage = rank.stage
    if rank.recipe.quantize == "none":
        return stage.blocks * rank.width
    return stage.packed + (stage.blocks - stage.linear) * rank.width


def _stays(rank: Rank) -> bool:
    """Return whether the weights of all layers stay gathered until the backward pass has used them."""
    return rank.recipe.fsdp == "grad_op" or rank.recipe.wrap == "model"


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
    """Return the bytes of the weights that FSDP keeps gathered beside the running layer's."""
    return rank.width * rank.stage.root + (_stored(rank) if _stays(rank) else 0.0)


def _alone(rank: Rank) -> bool:
    """Return whether a device holds all that it computes with: nothing is divided, and nothing is on the CPU."""
    return rank.recipe.shards == 1 and rank.recipe.offload_param_device == "none"
