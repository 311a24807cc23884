"""What Megatron-LM keeps of layers that it computes again, whole or in part (megatron/core/recompute.py)."""

from __future__ import annotations

from math import ceil

from accel_config.record import Record
from accel_estimate.training.activations.compute import Saved
from accel_estimate.training.activations.layers import attended, experts, feeding, shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.model.blueprint import Layer
    from accel_estimate.training.activations.compute import Compute

RECOMPUTED = frozenset(("core_attn", "layernorm", "mla_up_proj", "mlp", "moe", "moe_act", "shared_experts"))
"""Modules of `recompute_modules` that known families have (megatron/core/transformer/transformer_config.py)."""


class Recomputed(Record):
    """Modules of every layer, or (None) whole layers: the first `checkpointed` of each `group`, in units of `unit`.

    A group is what a stage of a pipeline runs without a break: all its layers, or those of one virtual stage.
    """

    modules: frozenset[str] | None
    group: int
    checkpointed: int = 0
    unit: int = 1

    def held(self, it: Layer, hidden: int, length: int, how: Compute, whole: Saved) -> tuple[Saved, Saved, Saved]:
        """Return the bytes a token that a layer keeps, on average; of these, what is the running layer's own.

        The last is what its backward pass begins with: the layer, with all layers of its unit.
        """
        if self.modules is not None:
            attention = _attending(it, length, how, self.modules)
            rest = _others(it, hidden, how, self.modules)
            kept = whole.plus(attention.times(-1), rest.times(-1))
            return kept, kept, whole.plus(attention.times(-1))
        entry = Saved(how.stream * hidden)
        if self.checkpointed < self.group:
            part = self.checkpointed / self.group
            return entry.times(part).plus(whole.times(1 - part)), whole, whole
        return entry.times(ceil(self.group / self.unit) / self.group), entry, whole.times(self.unit)


def _attending(it: Layer, length: int, how: Compute, modules: frozenset[str]) -> Saved:
    """Return what isn't kept of attention: all between its queries, keys and values and its result, or these."""
    inner = 0.0
    for attention in filter(None, (it.attention, it.cross)):
        flash = how.replace(attention="flash", repeats_keys=False)
        kept = attended(it, attention, length, flash).inner
        if "core_attn" in modules:
            inner += attended(it, attention, length, how).inner - kept + 4 * attention.heads
        if "mla_up_proj" in modules and attention.kv_rank:
            products = attention.query_width + attention.heads * (attention.head_dim + attention.value_dim)
            inner += how.width * (products + attention.heads * (attention.head_dim - attention.rope_dim))
    return Saved(inner=inner)


def _others(it: Layer, hidden: int, how: Compute, modules: frozenset[str]) -> Saved:
    """Return what isn't kept of norms (what they give) and of MLPs (all but their input, or their activation)."""
    found: list[Saved] = []
    if "layernorm" in modules:
        found.append(Saved(gathered=how.width * hidden * (bool(it.attention) + bool(it.mlp or it.experts))))
    if "mlp" in modules and it.mlp:
        found.append(feeding(it.mlp, how))
    if it.experts and "moe" in modules:
        found += [experts(it.experts, hidden, how), Saved(stream=-how.width * hidden)]
    elif it.experts:
        active = how.width * it.experts.width * it.experts.active if "moe_act" in modules else 0.0
        found.append(Saved(inner=active + shared(it.experts, hidden, how) * ("shared_experts" in modules)))
    return Saved().plus(*found)
