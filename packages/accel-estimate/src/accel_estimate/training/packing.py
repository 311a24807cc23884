"""What the library that packs frozen weights keeps of their products, and what it unpacks."""

from __future__ import annotations

from accel_estimate.model.sizes import QUANTIZATIONS
from accel_estimate.training.versions import FREES_INPUTS, numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.model.blueprint import Blueprint, Layer
    from accel_estimate.training.recipe import Recipe


def keeps_inputs(recipe: Recipe) -> bool:
    """Return whether products with frozen weights keep their inputs."""
    old = numbers(recipe.bitsandbytes) < FREES_INPUTS
    return recipe.quantize == "int8" or (recipe.quantize.startswith("nf4") and old)


def held(blueprint: Blueprint, recipe: Recipe) -> float:
    """Return the bytes of the inputs of the pass before, which are there until the next one has its loss.

    Products hold them beside autograd's saved tensors, so the backward pass doesn't free them, but the end of the
    graph: a script that holds the output or the loss of a pass has it until the next one replaces it. A
    checkpointed layer's graph ends with the layer. If lengths vary, the pass before the longest is taken to be short.
    """
    kept = recipe.outputs == "kept" and recipe.lengths == "equal" and recipe.gradient_checkpointing == "none"
    if not kept or not keeps_inputs(recipe):
        return 0.0
    tokens = recipe.batch_size * recipe.seq_len / recipe.cp
    return recipe.width * tokens * sum(_read(it, blueprint.hidden) for it in blueprint.decoder.layers)


def _read(it: Layer, hidden: int) -> int:
    """Return the numbers of a token that the products of a layer read."""
    found = hidden + it.attention.out_width if it.attention else 0
    if it.mlp:
        found += it.mlp.width + (0 if it.attention and it.norms == 1 else hidden)
    return found


def packs_head(recipe: Recipe) -> bool:
    """Return whether the head is packed too.

    transformers leaves it in 16 bits. LitGPT packs every linear layer (Lightning, fabric/plugins/precision/
    bitsandbytes.py).
    """
    return recipe.framework == "litgpt" and recipe.quantize != "none"


def packed_width(recipe: Recipe) -> float:
    """Return the bytes of a number that is packed, without the few of a row."""
    how = QUANTIZATIONS[recipe.quantize]
    return how.bits / 8 + (how.scale_bytes / how.group if how.group else 0.0)


def unpacked_width(recipe: Recipe) -> int:
    """Return the bytes of a number of a matrix that is unpacked.

    Lightning packs from fp16, so bitsandbytes unpacks to fp16 too, and a copy has the type of the computation.
    """
    return 4 if recipe.framework == "litgpt" and recipe.param_dtype != "float16" else 2
