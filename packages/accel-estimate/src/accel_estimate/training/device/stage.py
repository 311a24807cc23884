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

    from accel_estimate.model.blueprint import Blueprint, Layer
    from accel_estimate.model.weights import Weight
    from accel_estimate.training.recipe import Recipe


class Block(Record):
    """The parameters of a layer; of them those of its experts, and of what attention or a mixer reads by."""

    parameters: float
    experts: float = 0.0
    reading: float = 0.0


class Stage(Record):
    """What one device holds before ZeRO or FSDP divides it, and its share of the pipeline's work.

    In parameters: `blocks` and, in them, `experts` (0 unless these are spread over devices), `linear` (the matrices)
    and, of them, `encoder` (those of an encoder) and `narrowed` (those that autocast makes narrow copies of:
    transformers multiplies by experts in groups); `root` (all outside blocks) and, in it, `head`; `largest_block`, of
    it `reading` (the matrices of q, k and v; of a mixer, what comes before its scan), and `largest_matrix`; `mixed`
    (those whose gradients Mamba's function gives). `packed` are the bytes of packed matrices.
    `each`: every layer, if they are of several kinds.
    `before_last` is the size of the last block but one, as a part of the largest.
    `share` is the part of the layers, `in_flight` the number of micro-batches whose activations are there at once.
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
    in_flight: float
    has_head: bool
    before_last: float = 1.0
    mixed: float = 0.0
    each: tuple[Block, ...] = ()

    @property
    def parameters(self) -> float:
        """All parameters."""
        return self.blocks + self.root


def stages(weights: Sequence[Weight], blueprint: Blueprint, recipe: Recipe) -> list[Stage]:
    """Divide the parameters over tensor, expert and pipeline parallelism; return the first and the last stage.

    Tensor parallelism splits every matrix and the vocabulary; norms and biases are too small to matter. The first
    stage of a pipeline holds the embeddings, the last one the head; none between has more activations than the first.

    Raises:
        UsageError: there are more stages than layers, or heads can't be divided.

    """
    blocks = [weight for weight in weights if weight.block]
    parts = [expert_parts(recipe) if _spreads(weight, recipe) else recipe.tp for weight in blocks]
    kept = [weight.parameters / part for weight, part in zip(blocks, parts, strict=True)]
    sizes: dict[str, float] = {}
    for weight, parameters in zip(blocks, kept, strict=True):
        sizes[weight.block] = sizes.get(weight.block, 0) + parameters
    layers = max(len(sizes), 1)
    if (groups := recipe.pp * recipe.virtual_stages) > layers:
        virtual = f" --virtual_stages {recipe.virtual_stages}" if recipe.virtual_stages > 1 else ""
        raise UsageError(f"--pp {recipe.pp}{virtual}: the model has only {layers} layers to divide by {groups}")
    if recipe.megatron != "none" and layers % groups:
        raise UsageError(
            f"--pp and --virtual_stages: Megatron-LM needs as many layers for each of {groups}, of {layers}"
        )
    heads = {it.attention.heads for it in blueprint.layers() if it.attention}
    if odd := [number for number in heads if number % recipe.tp]:
        raise UsageError(f"--tp {recipe.tp}: doesn't divide the {odd[0]} heads of attention")
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
        max((_reading(it, blueprint.hidden) for it in blueprint.decoder.layers), default=0) / recipe.tp,
        max((parameters / copies for parameters, copies in linear), default=0),
        share,
        1,
        has_head=blueprint.vocab > 0,
        mixed=_mixed(blueprint) / recipe.tp,
        each=_each(blueprint, list(zip(blocks, kept, strict=True))) if recipe.pp == 1 else (),
        before_last=list(sizes.values())[-2] / (max(sizes.values()) or 1)
        if len(sizes) > 1 and not blueprint.encoder
        else 1.0,
    )
    if recipe.pp == 1:
        return [whole]
    first = root - (0 if blueprint.tied else min(head, root))
    return [
        whole.replace(root=first / recipe.tp, in_flight=_in_flight(recipe, 0), has_head=False),
        whole.replace(root=head / recipe.tp, in_flight=_in_flight(recipe, recipe.pp - 1)),
    ]


def _in_flight(recipe: Recipe, stage: int) -> float:
    """Return the number of micro-batches whose activations a stage keeps at once.

    1F1B: one for itself and each stage behind it. Interleaved: before its first backward pass, a stage runs two
    groups of layers for each stage behind it, and one micro-batch per stage through all groups but the last
    (get_pp_rank_microbatches in megatron/core/pipeline_parallel/schedules.py; torch's ScheduleInterleaved1F1B too).
    """
    behind, groups = recipe.pp - stage - 1, recipe.virtual_stages
    runs = behind + 1 if groups == 1 else 2 * behind + (groups - 1) * recipe.pp + 1
    return min(runs, (recipe.micro_batches or recipe.pp) * groups) / groups


def _each(blueprint: Blueprint, blocks: Sequence[tuple[Weight, float]]) -> tuple[Block, ...]:
    """Return every layer of a decoder that has attention in some layers and mixers in others."""
    if not blueprint.uneven:
        return ()
    found: dict[int, list[float]] = {}
    for weight, parameters in blocks:
        number = weight.block.rpartition(".")[2]
        if not number.isdecimal():
            return ()
        block = found.setdefault(int(number), [0.0, 0.0])
        block[0] += parameters
        block[1] += parameters * _routed(weight)
    if sorted(found) != list(range(len(blueprint.decoder.layers))):
        return ()
    reading = (_reading(it, blueprint.hidden) for it in blueprint.decoder.layers)
    return tuple(Block(found[index][0], found[index][1], reads) for index, reads in enumerate(reading))


def _reading(layer: Layer, hidden: int) -> int:
    """Return the parameters of the matrices from which a layer's attention has its queries, keys and values.

    Cross attention comes first in the backward pass: all matrices of the layer's own are left then. Of a mixer it is
    what comes before its scan; Mamba's function gives most of its gradients at once.
    """
    if space := layer.space:
        products = space.inner * (2 * hidden + (2 * space.rank + 2 * space.state) * space.normed)
        return products + space.inner * (space.state + space.conv + 3) + hidden
    it, cross = layer.attention, layer.cross
    if it is None:
        return 0
    if cross:
        return hidden * (2 * (it.query_width + it.key_width + it.value_width) + it.out_width)
    if not it.kv_rank:
        return hidden * (it.query_width + it.key_width + it.value_width)
    queries = it.q_rank * (hidden + it.query_width) if it.q_rank else hidden * it.query_width
    wide = it.heads * (it.head_dim - it.rope_dim) + it.out_width
    return queries + hidden * (it.kv_rank + it.rope_dim) + it.kv_rank * wide


def _mixed(blueprint: Blueprint) -> int:
    """Return the parameters of the matrices whose gradients Mamba's function gives."""
    it = blueprint.decoder.layers[-1].space if blueprint.decoder.layers else None
    return it.inner * (blueprint.hidden + 2 * it.rank + 2 * it.state) if it else 0


def expert_parts(recipe: Recipe) -> int:
    """Return the number of parts of a layer's experts; tensor parallelism splits what expert parallelism leaves."""
    if recipe.ep == 1:
        return recipe.tp
    return recipe.ep * max(1, min(recipe.tp, recipe.data_parallel * recipe.cp * recipe.tp // recipe.ep))


def _spreads(weight: Weight, recipe: Recipe) -> bool:
    """Return whether this is an expert's weight, and experts are spread over devices."""
    return recipe.ep > 1 and _routed(weight)


def _routed(weight: Weight) -> bool:
    return "experts" in weight.name and "shared" not in weight.name
