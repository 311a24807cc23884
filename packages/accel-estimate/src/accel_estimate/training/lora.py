"""Low-rank adapters: which matrices get one, and the shapes that are trained instead of them."""

from __future__ import annotations

from collections import Counter

from accel_estimate.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from accel_estimate.model.blueprint import Blueprint
    from accel_estimate.model.weights import Weight

    Matrix = tuple[int, ...]

_MATRIX = 2


def targets(weights: Iterable[Weight], wanted: Sequence[str], *, experts: bool = False) -> list[Weight]:
    """Return the matrices that get adapters: those whose module's name ends like one of `wanted`, or all of them.

    "All" are the linear layers inside blocks, without the head, as with peft's "all-linear". Experts and routers
    aren't linear layers in transformers since 5.0: experts get adapters if peft knows how (`experts`), or by name.
    Where it does, it takes the names of their matrices for theirs alone: other MLPs get none.

    Raises:
        UsageError: a wanted name fits no matrix.

    """
    linear = [weight for weight in weights if weight.linear and len(weight.shape) in (0, 2)]
    if any(part.isdecimal() for name in wanted for part in name.split(".")):  # perhaps the number of an expert
        linear = [one for weight in linear for one in weight.each()]
    if not wanted:
        if experts:
            return [it for it in linear if ("experts." in it.name if _routed(it) else not it.module.endswith(_MLP))]
        return [weight for weight in linear if not _routed(weight)]
    for name in wanted:
        if not any(_fits(weight, name) for weight in linear):
            known = sorted({weight.module.rpartition(".")[2] for weight in linear})
            raise UsageError(
                f"--lora_targets: the model has no linear layer {name!r}; its layers are {', '.join(known[:20])}"
            )
    return [weight for weight in linear if any(_fits(weight, name) for name in wanted)]


def saved(weights: Iterable[Weight], names: Sequence[str]) -> list[Weight]:
    """Return the weights of modules that are trained as a whole beside the adapters.

    Raises:
        UsageError: a name fits no module.

    """
    listed = list(weights)
    for name in names:
        if not any(_within(weight, name) for weight in listed):
            raise UsageError(f"--modules_to_save: the model has no module {name!r} with weights of its own")
    return [weight for weight in listed if any(_within(weight, name) for name in names)]


_MLP = ("gate_proj", "up_proj", "down_proj")
_ROUTERS = ("mlp.gate", "mlp.router", "block_sparse_moe.gate", "feed_forward.router")


def _routed(weight: Weight) -> bool:
    """Return whether it is a router or an expert that it chooses."""
    return ("experts" in weight.name and "shared" not in weight.name) or weight.module.endswith(_ROUTERS)


def _within(weight: Weight, name: str) -> bool:
    return f".{name}." in f".{weight.name}"


def _fits(weight: Weight, name: str) -> bool:
    return weight.module == name or weight.module.endswith("." + name)


def shapes(
    chosen: Iterable[Weight], rank: int, hidden_shapes: Mapping[str, Matrix], *, experts: bool = False
) -> Counter[Matrix]:
    """Return the shapes of all adapters and their number: [rank, in] and [out, rank] (arXiv 2106.09685, section 4.1).

    `hidden_shapes` has the shapes of modules whose files pack them.

    Raises:
        UsageError: a shape isn't known.

    """
    found: Counter[Matrix] = Counter()
    for weight in chosen:
        shape = weight.shape or hidden_shapes.get(weight.module, ())
        name = weight.module.rpartition(".")[2]
        if experts and "experts." in weight.name and "shared" not in weight.name and name in ("gate_proj", "up_proj"):
            if name == "gate_proj":  # both are one tensor, whose adapter has twice the rank
                found[2 * rank, shape[1]] += weight.copies
                found[2 * shape[0], 2 * rank] += weight.copies
            continue
        if len(shape) != _MATRIX:
            raise UsageError(
                f"--lora_rank: the shape of {weight.module} is hidden by its packing; name the unpacked "
                "model instead, with --quantize"
            )
        found[rank, shape[1]] += weight.copies
        found[shape[0], rank] += weight.copies
    return found


def keys(blueprint: Blueprint, wanted: Sequence[str]) -> frozenset[str]:
    """Return the products of a block (q, k, v, o, gate, up, down) with adapters, by the family's names for them.

    "experts" is among them if those of experts have adapters too. Without names, experts may have them alone of all
    MLPs.
    """
    products = ("q", "k", "v", "o", "qkv", "gate", "up", "down")
    mixers = ("in", "x", "out") if any(it.space for it in blueprint.layers()) else ()
    if not wanted:
        alone = any(it.experts and it.experts.adapts for it in blueprint.decoder.layers)
        return frozenset(products[:5] if alone else (*products, *mixers))
    ends = {name.rpartition(".")[2] for name in wanted}
    named = [key for key in products if blueprint.names[key].rpartition(".")[2] in ends]
    return frozenset(("experts", *named, *(key for key in mixers if f"{key}_proj" in ends)))
