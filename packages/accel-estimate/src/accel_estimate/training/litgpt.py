"""LitGPT in terms of transformers: how its code of models, adapters and steps differs."""

from __future__ import annotations

from collections import Counter

from accel_estimate.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.model.blueprint import Blueprint, Layer
    from accel_estimate.training.recipe import Recipe

PARTS: dict[str, tuple[str, ...]] = {
    "query": ("q",), "key": ("k",), "value": ("v",), "projection": ("o",), "mlp": ("gate", "up", "down"), "head": ()
}  # fmt: skip
"""What LitGPT's flags `lora_query`, `lora_key` and so on adapt: the products of a block."""
USUAL = ("query", "value")


def counted(recipe: Recipe) -> Recipe:
    """Return a recipe of LitGPT as it is counted; any other is itself.

    Its scripts compute the head and the loss in chunks, in fp32, and step packed models with bitsandbytes' paged
    AdamW (litgpt/finetune/lora.py).
    """
    if recipe.framework != "litgpt":
        return recipe
    paged = recipe.quantize != "none" and recipe.optimizer == "adamw"
    return recipe.replace(
        loss="chunked" if recipe.loss == "auto" else recipe.loss,
        optimizer="paged_adamw" if paged else recipe.optimizer,
        repeats_keys=True,
    )


def written(blueprint: Blueprint, recipe: Recipe) -> Blueprint:
    """Return a model as LitGPT writes it; with any other framework it is as transformers does.

    Queries, keys and values are one product, whose keys and values are repeated for every query head. Every GELU is
    one kernel, and the head is never tied (litgpt/model.py).

    Raises:
        UsageError: LitGPT has no such models.

    """
    if recipe.framework != "litgpt":
        return blueprint
    if blueprint.encoder or not blueprint.vocab or not blueprint.decoder.layers:
        raise UsageError("--framework litgpt: it has models that are decoders with a language head alone")
    layers = tuple(map(_layer, blueprint.decoder.layers))
    return blueprint.replace(decoder=blueprint.decoder.replace(layers=layers), tied=False)


def untied(blueprint: Blueprint, recipe: Recipe) -> int:
    """Return the parameters of a head that other frameworks tie to the embeddings."""
    return blueprint.vocab * blueprint.hidden if recipe.framework == "litgpt" and blueprint.tied else 0


def _layer(it: Layer) -> Layer:
    attention, mlp = it.attention, it.mlp
    if attention and not attention.kv_rank:
        attention = attention.replace(fused=True, copied=False)
    if mlp and mlp.activation.startswith("gelu"):
        mlp = mlp.replace(activation="silu" if mlp.gated else "gelu")
    if mlp:
        mlp = mlp.replace(fused=False)
    return it.replace(attention=attention, mlp=mlp)


def adapted(recipe: Recipe) -> frozenset[str]:
    """Return the products of a block (q, k, v, o, gate, up, down) with adapters.

    Raises:
        UsageError: a name isn't one of LitGPT's.

    """
    names = recipe.lora_targets or USUAL
    for name in names:
        if name not in PARTS:
            raise UsageError(f"--lora_targets: LitGPT adapts {', '.join(PARTS)}, not {name!r}")
    keys = frozenset(key for name in names for key in PARTS[name])
    return keys | {"qkv"} if keys & {"q", "k", "v"} else keys


def shapes(blueprint: Blueprint, recipe: Recipe) -> Counter[tuple[int, ...]]:
    """Return the shapes of all adapters and their number; those of q, k and v are two matrices (litgpt/lora.py)."""
    rank, hidden, keys = recipe.lora_rank, blueprint.hidden, adapted(recipe)
    found: Counter[tuple[int, ...]] = Counter()
    for it in blueprint.decoder.layers:
        if it.attention:
            widths = {"q": it.attention.query_width, "k": it.attention.key_width, "v": it.attention.value_width}
            wanted = [widths[key] for key in widths if key in keys]
            found[rank * len(wanted), hidden] += bool(wanted)
            found[sum(wanted), rank] += bool(wanted)
            _add(found, rank, it.attention.out_width, hidden, "o" in keys)
        if it.mlp:
            _add(found, rank, hidden, it.mlp.width, (1 + it.mlp.gated) * ("up" in keys))
            _add(found, rank, it.mlp.width, hidden, "down" in keys)
    _add(found, rank, hidden, blueprint.vocab, "head" in recipe.lora_targets)
    return found


def _add(found: Counter[tuple[int, ...]], rank: int, into: int, out: int, number: int) -> None:
    found[rank, into] += number
    found[out, rank] += number
