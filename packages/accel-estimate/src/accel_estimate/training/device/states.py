"""Weights, gradients and the optimizer's states of one device, in bytes.

The arithmetic is ZeRO's (arXiv 1910.02054, sections 3 and 5) for DeepSpeed, and torch's own types for the rest.
"""

from __future__ import annotations

from typing import Literal

from accel_estimate.training import optimizers
from accel_estimate.training.packing import packed_width, packs_head, unpacked_width
from accel_estimate.training.recipe import WIDTH, ZERO_2, ZERO_3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.training.device.rank import Rank

Part = Literal["layer", "attending", "normalizing"]
"""The parts of a layer's backward pass: the MLP, attention, and the norm before it."""

SUB_GROUP = 1_000_000_000
"""Parameters that ZeRO-3 steps at a time (`sub_group_size`), in elements."""


def weights(rank: Rank) -> float:
    """Return the bytes of the weights that stay on the device.

    DeepSpeed holds a narrow copy (its fp32 master is counted with the optimizer). Quantized: packed matrices, the
    rest in `weights_dtype`, adapters in their own type. ZeRO-3 and FSDP hold one part of `shards`.
    """
    recipe, stage = rank.recipe, rank.stage
    width = rank.width if rank.deepspeed else WIDTH[recipe.weights_dtype]
    if recipe.quantize == "none":
        whole = stage.parameters * width
    else:
        head = stage.head if packs_head(recipe) and stage.has_head else 0.0
        whole = stage.packed + head * packed_width(recipe) + (stage.parameters - stage.linear - head) * width
    adapters = rank.trained.adapters * (rank.width if rank.deepspeed else rank.trained.width)
    if recipe.offload_param_device != "none":
        return 0.0
    return (whole + adapters) / (rank.shards if recipe.zero_stage == ZERO_3 or recipe.fsdp != "none" else 1)


def casts(rank: Rank, layers: float, *, head: bool) -> float:
    """Return the bytes of the narrow copies of fp32 weights that autocast makes of `layers` parameters and the head.

    autograd keeps a copy until its use in the backward pass. autocast's cache keeps those of trained weights to the
    end of the forward pass; with checkpointing there are no others. transformer-engine keeps two fp8 copies instead,
    one transposed: as many bytes.
    """
    if not rank.recipe.autocasts or rank.recipe.quantize != "none":
        return 0.0
    return 2 * (layers + (rank.stage.head if head and rank.stage.has_head else 0))


def adapter_casts(rank: Rank, *, forward: bool = False) -> float:
    """Return the bytes of the narrow copies of fp32 adapters under autocast.

    Its cache has all of them until the forward pass ends. The graph keeps them longer, if layers aren't checkpointed.
    """
    recipe = rank.recipe
    if not recipe.under_autocast or rank.trained.width < WIDTH["float32"]:
        return 0.0
    return 2 * rank.trained.adapters * (forward or recipe.gradient_checkpointing == "none")


def casts_kept(rank: Rank) -> float:
    """Return the number of parameters in layers whose narrow copies are kept for the backward pass."""
    return rank.stage.narrowed if rank.recipe.gradient_checkpointing == "none" else 0.0


def casts_again(rank: Rank, part: Part) -> float:
    """Return the number of parameters of one layer whose narrow copies a part of its backward pass still has."""
    return (rank.stage.largest_block - passed(rank, part)) * rank.stage.narrowed / (rank.stage.linear or 1)


def gradients(rank: Rank) -> float:
    """Return the bytes of all gradients at the end of the backward pass.

    torch keeps them in the type of the weight. DeepSpeed's are narrow. ZeRO-2 and 3 and FSDP keep one part of
    `shards`; they keep none if the optimizer, or FSDP's weights, are offloaded, because these gradients go to the CPU
    at once. ZeRO-1 reduces the gradients when all of them are complete.
    """
    recipe = rank.recipe
    divided = recipe.zero_stage >= ZERO_2 or recipe.fsdp != "none"
    if divided and recipe.offloads_states:
        return 0.0
    numbers = rank.trained.largest if recipe.optimizer_in_backward else rank.trained.parameters
    return numbers * rank.gradient_width / (rank.shards if divided else 1)


def accumulated(rank: Rank) -> float:
    """Return the bytes of the gradients that are kept between the passes of a step.

    FSDP keeps them whole until the last pass, in the type of the computation, unless every pass divides them.
    Megatron-LM has one buffer for all of them, always.
    """
    recipe = rank.recipe
    if recipe.megatron != "none":
        return gradients(rank)
    if recipe.gradient_accumulation == 1:
        return 0.0
    if recipe.fsdp == "none" or rank.shards == 1 or recipe.sync_each_batch:
        return gradients(rank)
    width = rank.trained.width if recipe.mixed_precision == "no" else rank.width
    if recipe.gradient_dtype == "float32":
        width = 4
    return rank.trained.parameters * width


def added(rank: Rank, part: Part) -> float:
    """Return the bytes of a gradient in a layer's MLP that is new while that of the pass before is kept."""
    recipe = rank.recipe
    if part != rank.adding or recipe.gradient_accumulation == 1 or not recipe.trains_all:
        return 0.0
    return 0.0 if recipe.zero_stage >= 0 or recipe.fsdp != "none" else rank.added * rank.gradient_width


def later_gradients(rank: Rank, part: Part) -> float:
    """Return the gradients that don't exist yet in a part of the first layer's backward pass: its own too.

    With FSDP those of the layer and of the head aren't divided yet either.
    """
    recipe, stage = rank.recipe, rank.stage
    if not recipe.trains_all or recipe.zero_stage >= 0 or recipe.optimizer_in_backward or gradients(rank) == 0.0:
        return 0.0
    if recipe.fsdp != "none":
        return (stage.root + stage.largest_block) * rank.gradient_width / rank.shards
    embeddings = max(stage.root - stage.head, 0) if stage.has_head else 0.0
    return (embeddings + stage.largest_block - passed(rank, part)) * rank.gradient_width


def grows(rank: Rank) -> bool:
    """Return whether gradients become more with every layer of the backward pass, as far as this counts them."""
    return rank.recipe.zero_stage < 0 and not rank.recipe.optimizer_in_backward


def last_gradients(rank: Rank, *, encoder: bool) -> float:
    """Return the gradients that don't exist yet when those of the embeddings are made.

    The backward pass of an encoder comes later, and FSDP divides the embeddings' then.
    """
    if not rank.recipe.trains_all or rank.recipe.optimizer_in_backward or not gradients(rank):
        return 0.0
    later = rank.stage.encoder if encoder else 0.0
    if rank.tied and rank.recipe.fsdp != "none":
        later += rank.stage.root
    return later * rank.gradient_width / rank.shards


def shared_gradient(rank: Rank) -> float:
    """Return what the gradient of tied embeddings takes beside itself: torch adds two tensors up in a third.

    That becomes the gradient, unless there is one from the pass before. With FSDP it isn't divided yet, and counted
    with the communication.
    """
    apart = rank.recipe.fsdp != "none" or rank.recipe.megatron != "none"  # the latter adds up in its buffer
    if apart or not rank.tied or not rank.recipe.trains_all or not rank.stage.has_head:
        return 0.0
    return (2 if rank.recipe.gradient_accumulation == 1 else 3) * rank.stage.head * rank.gradient_width


def layer_gradient(rank: Rank) -> float:
    """Return the bytes of one layer's gradients as FSDP divides them."""
    if not rank.recipe.trains_all or rank.recipe.offloads_states:
        return 0.0
    return rank.stage.largest_block * rank.gradient_width / rank.shards


def passed(rank: Rank, part: Part) -> float:
    """Return the parameters of a layer that have gradients while a part of it runs backward."""
    stage = rank.stage
    if part == "layer":
        return 0.0 if rank.remakes else stage.largest_matrix
    return stage.largest_block - (stage.reading if part == "attending" else 0.0)


def head_gradient(rank: Rank, part: Part) -> float:
    """Return the bytes of the first gradients of the backward pass: the language head's, and those of a layer."""
    recipe = rank.recipe
    numbers = rank.stage.head if rank.trains_head else 0.0
    if recipe.trains_all:
        numbers += passed(rank, part) + rank.behind * rank.stage.largest_block
    head = numbers * rank.gradient_width
    divided = rank.shards if recipe.fsdp != "none" or recipe.zero_stage >= ZERO_2 else 1
    return min(head / divided, gradients(rank))


def optimizer(rank: Rank) -> float:
    """Return the bytes of the optimizer's states and, with DeepSpeed, of the fp32 master copy.

    Without ZeRO only narrow weights have a master copy.
    """
    if rank.recipe.offloads_states:
        return 0.0
    master = 4 * rank.trained.parameters if rank.master else 0
    return (rank.trained.states + master) / rank.shards


def stepping(rank: Rank) -> float:
    """Return the bytes that only the step needs: the optimizer's, and DeepSpeed's fp32 copy of its gradients."""
    recipe, trained, part = rank.recipe, rank.trained, rank.trained.parameters / rank.shards
    if recipe.offloads_states:
        return 0.0
    largest = trained.largest / rank.shards
    stepped = largest if recipe.optimizer_in_backward else part
    if rank.deepspeed:  # it steps all that it steps at once as one tensor
        largest = stepped = min(part, SUB_GROUP) if recipe.zero_stage == ZERO_3 else part
    copies = 4 * stepped if rank.master and recipe.megatron == "none" else 0.0
    return copies + optimizers.step_bytes(recipe.optimizer, recipe.optimizer_form, trained.width, stepped, largest)


def dequantized(rank: Rank) -> float:
    """Return the bytes of packed matrices that are unpacked while a layer runs.

    bitsandbytes unpacks one matrix at a time. GPTQ's layers are written in torch's own operations, so autograd keeps
    a layer's unpacked matrices, and unpacking one makes an int32, two int8 and one 16-bit copy of it
    (auto_gptq/nn_modules/qlinear/qlinear_cuda_old.py). Fused, they are one function that unpacks a matrix at a time
    (auto_gptq/nn_modules/triton_utils/dequant.py).
    """
    if rank.recipe.quantize in ("none", "int8"):
        return 0.0
    if rank.recipe.quantize == "gptq4" and rank.recipe.gptq_kernel == "torch" and not rank.recipe.compile:
        return 2 * rank.stage.largest_block + 8 * rank.stage.largest_matrix
    return unpacked_width(rank.recipe) * rank.stage.largest_matrix


def unpacked_head(rank: Rank) -> float:
    """Return the bytes of the head while it is unpacked, if it is packed."""
    return unpacked_width(rank.recipe) * rank.stage.head if packs_head(rank.recipe) and rank.stage.has_head else 0.0
