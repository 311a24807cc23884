"""How parallelism divides a model: what one device holds before ZeRO or FSDP divides it further."""

from __future__ import annotations

from math import ceil

from accel_config.record import Record
from accel_estimate.errors import UsageError
from accel_estimate.model.sizes import QUANTIZATIONS, packed_bytes
from accel_estimate.training import litgpt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_estimate.model.blueprint import Blueprint
    from accel_estimate.model.weights import Weight
    from accel_estimate.training.recipe import Recipe


class Stage(Record):
    """What one device holds before ZeRO or FSDP divides it, and its share of the pipeline's work.

    In parameters: `blocks` and, in them, `experts` (0 unless these are spread over devices), `linear` (the matrices)
    and, of them, `encoder` (those of an encoder) and `narrowed` (those that autocast makes narrow copies of:
    transformers multiplies by experts in groups); `root` (all outside blocks) and, in it, `head`; `largest_block`, of
    it `reading` (the matrices of q, k and v), and `largest_matrix`. `packed` are the bytes of packed matrices.
    `share` is the part of the layers, `in_flight` the number of micro-batches at once.
    """

    blocks: float
    experts: float
    root: float
    head: float
    linear: float
    narrowed: float
    encoder: float
    packed: float
    largest_block: float
    reading: float
    largest_matrix: float
    share: float
    in_flight: int
    has_head: bool

    @property
    def parameters(self) -> float:
        """All parameters."""
        return self.blocks + self.root


def stages(weights: Sequence[Weight], blueprint: Blueprint, recipe: Recipe) -> list[Stage]:
    """Divide the parameters over tensor, expert and pipeline parallelism; return the first and the last stage.

    Tensor parallelism splits every matrix and the vocabulary; norms and biases are too small to matter. The first
    stage of a pipeline (1F1B) holds the embeddings and up to `pp` micro-batches, the last the head and one.

    Raises:
        UsageError: there are more stages than layers.

    """
    blocks = [weight for weight in weights if weight.block]
    parts = [recipe.expert_parts if _spreads(weight, recipe) else recipe.tp for weight in blocks]
    kept = [weight.parameters / part for weight, part in zip(blocks, parts, strict=True)]
    sizes: dict[str, float] = {}
    for weight, parameters in zip(blocks, kept, strict=True):
        sizes[weight.block] = sizes.get(weight.block, 0) + parameters
    layers = max(len(sizes), 1)
    if recipe.pp > layers:
        raise UsageError(f"--pp {recipe.pp}: the model has only {layers} layers to divide")
    share = ceil(layers / recipe.pp) / layers
    linear = [(parameters, weight.copies) for weight, parameters in zip(blocks, kept, strict=True) if weight.linear]
    head = blueprint.vocab * blueprint.hidden
    root = sum(weight.parameters for weight in weights if not weight.block) + litgpt.untied(blueprint, recipe)
    packed = 0.0
    if recipe.quantize != "none":
        how = QUANTIZATIONS[recipe.quantize]
        packed = sum(packed_bytes(w, how) / part for w, part in zip(blocks, parts, strict=True) if w.linear)
    whole = Stage(
        sum(kept) * share,
        sum(n for weight, n in zip(blocks, kept, strict=True) if _spreads(weight, recipe)) * share,
        root / recipe.tp,
        head / recipe.tp,
        sum(parameters for parameters, _ in linear) * share,
        sum(n for weight, n in zip(blocks, kept, strict=True) if weight.linear and not _routed(weight)) * share,
        sum(n for weight, n in zip(blocks, kept, strict=True) if weight.linear and "encoder." in weight.block)
        * share,
        packed * share,
        max(sizes.values(), default=0),
        _reading(blueprint) / recipe.tp,
        max((parameters / copies for parameters, copies in linear), default=0),
        share,
        1,
        has_head=blueprint.vocab > 0,
    )
    if recipe.pp == 1:
        return [whole]
    first = root - (0 if blueprint.tied else min(head, root))
    in_flight = min(recipe.pp, recipe.micro_batches or recipe.pp)
    return [
        whole.replace(root=first / recipe.tp, in_flight=in_flight, has_head=False),
        whole.replace(root=head / recipe.tp),
    ]


def _reading(blueprint: Blueprint) -> int:
    """Return the parameters of the matrices from which a layer's attention has its queries, keys and values."""
    found = [it.attention for it in blueprint.decoder.layers if it.attention]
    if not found:
        return 0
    it, hidden = found[-1], blueprint.hidden
    if not it.kv_rank:
        return hidden * (it.query_width + it.key_width + it.value_width)
    queries = it.q_rank * (hidden + it.query_width) if it.q_rank else hidden * it.query_width
    wide = it.heads * (it.head_dim - it.rope_dim) + it.out_width
    return queries + hidden * (it.kv_rank + it.rope_dim) + it.kv_rank * wide


def _spreads(weight: Weight, recipe: Recipe) -> bool:
    """Return whether this is an expert's weight, and experts are spread over devices."""
    return recipe.ep > 1 and _routed(weight)


def _routed(weight: Weight) -> bool:
    return "experts" in weight.name and "shared" not in weight.name
