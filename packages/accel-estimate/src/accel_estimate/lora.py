"""Low-rank adapters: which matrices get one, and the shapes that are trained instead of them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from accel_estimate.blueprint import Blueprint
from accel_estimate.errors import UsageError
from accel_estimate.weights import Weight

Matrix = tuple[int, ...]
_MATRIX = 2


def targets(weights: Iterable[Weight], wanted: Sequence[str]) -> list[Weight]:
    """Find the matrices that adapters are put on: those whose module's name ends as one of `wanted`, or all of them.

    "All" are the linear layers inside blocks, which leaves out the head, as peft's "all-linear" does. Stacked experts
    are no linear layers, and get none.

    Raises:
        UsageError: a wanted name fits no matrix.

    """
    linear = [weight for weight in weights if weight.linear and len(weight.shape) in (0, 2)]
    if any(part.isdecimal() for name in wanted for part in name.split(".")):  # some experts, perhaps
        linear = [one for weight in linear for one in weight.each()]
    if not wanted:
        return linear
    for name in wanted:
        if not any(_fits(weight, name) for weight in linear):
            there = sorted({weight.module.rpartition(".")[2] for weight in linear})
            raise UsageError(
                f"--lora_targets: no linear layer is called {name!r}; there are {', '.join(there[:20])}."
            )
    return [weight for weight in linear if any(_fits(weight, name) for name in wanted)]


def _fits(weight: Weight, name: str) -> bool:
    return weight.module == name or weight.module.endswith("." + name)


def shapes(chosen: Iterable[Weight], rank: int, hidden_shapes: Mapping[str, Matrix]) -> Counter[Matrix]:
    """Count the matrices of all adapters, two each: [rank, in] and [out, rank] (arXiv 2106.09685, section 4.1).

    `hidden_shapes` gives the shape of a module whose file packs it.

    Raises:
        UsageError: a shape is not known.

    """
    found: Counter[Matrix] = Counter()
    for weight in chosen:
        shape = weight.shape or hidden_shapes.get(weight.module, ())
        if len(shape) != _MATRIX:
            raise UsageError(
                f"--lora_rank: the shape of {weight.module} is hidden by its packing; name the unpacked "
                "model instead, with --quantize."
            )
        found[rank, shape[1]] += weight.copies
        found[shape[0], rank] += weight.copies
    return found


def keys(plan: Blueprint, wanted: Sequence[str]) -> frozenset[str]:
    """Tell which products of a block (q, k, v, o, gate, up, down) carry adapters, by the family's names for them."""
    products = ("q", "k", "v", "o", "qkv", "gate", "up", "down")
    if not wanted:
        return frozenset((*products, "in"))
    ends = {name.rpartition(".")[2] for name in wanted}
    return frozenset(key for key in products if plan.names[key].rpartition(".")[2] in ends)
