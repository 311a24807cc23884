"""What to answer when something doesn't fit, and how far it goes when it does: training, serving, weights alone."""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.answer import changes
from accel_estimate.answer.reach import Reach, reach
from accel_estimate.answer.search import Answer, Space, changed, flags, search
from accel_estimate.devices.limits import room
from accel_estimate.errors import UsageError
from accel_estimate.estimation.subject import as_stored
from accel_estimate.model.sizes import DTYPES
from accel_estimate.model.weights import stored_packing
from accel_estimate.serving.server import estimate_serving
from accel_estimate.training.recipe import check
from accel_estimate.training.step import estimate_training, expected, holdings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from accel_estimate.model.blueprint import Blueprint
    from accel_estimate.model.weights import Weight
    from accel_estimate.serving.settings import Serving
    from accel_estimate.training.recipe import Recipe
    from accel_estimate.training.step import Holdings


class Saving(Record):
    """A single change of a recipe, with the flags that make it and the bytes that it saves on each device."""

    name: str
    flags: str
    saves: float


WORTH = 0.01
"""The least part of the peak that a single change must save to be named."""


class Training:
    """A training run of a model, as a search looks at it: a recipe in, expected bytes out."""

    def __init__(
        self, config: Mapping[str, Any], weights: Sequence[Weight], blueprint: Blueprint, *, bf16: bool = True
    ) -> None:
        self._config, self._weights, self._blueprint, self._bf16 = config, weights, blueprint, bf16
        self._held: dict[Recipe, Holdings] = {}

    def need(self, recipe: Recipe) -> float:
        """Return the expected bytes of one device.

        Raises:
            UsageError: the recipe isn't possible.

        """
        recipe, _ = as_stored(self._config, recipe)
        check(recipe)
        key = recipe.replace(
            batch_size=1,
            seq_len=1,
            gradient_accumulation=1,
            gradient_checkpointing="none",
            attention="sdpa",
            loss="auto",
            mixed_precision="bf16" if recipe.upcasts else "no",
            offload_optimizer_device="none",
            offload_param_device="none",
        )
        if key not in self._held:
            self._held[key] = holdings(self._weights, self._blueprint, recipe)
        return expected(self._held[key], self._blueprint, recipe)

    def space(self, recipe: Recipe) -> Space:
        """Return what can be changed."""
        states = changes.of_states(recipe, bf16=self._bf16)
        if as_stored(self._config, recipe)[0].quantize != "none":  # packed already, whatever the flag says
            states[-1] = []
        return Space(states, changes.of_passes(recipe, language_head=self._blueprint.vocab > 0))

    def answer(self, recipe: Recipe, limit: int, target: float | None = None) -> Answer | None:
        """Return the cheapest changes that fit in the `room` of `limit` bytes, or in the `target` for the formulas.

        If none do, those that need least, which may still fit barely.
        """
        smallest: dict[str, Any] = {
            "loss": "fused" if self._blueprint.vocab else recipe.loss,
            "attention": "sdpa" if recipe.attention == "eager" else recipe.attention,
            "batch_size": 1,
            "use_reentrant": "false",
        }
        kinds = [recipe.gradient_checkpointing, *(it.fields[0][1] for it in changes.of_checkpointing(recipe))]

        def floor(other: Recipe) -> float:
            """Return a bound: one sequence, without the gradients that are kept between passes."""
            return min(self.need(other.replace(**smallest, gradient_checkpointing=kind)) for kind in kinds)

        aim = round(target or room(limit))
        found = search(recipe, self.space(recipe), self.need, aim, floor)
        if found is None or found.needed >= self.need(recipe):
            return None
        found = found.replace(limit=limit, barely=found.needed > aim)
        reach = self.reach(found.settings, limit) if found.fits else None
        return found.replace(reach=reach, host=self.host(found.settings))

    def host(self, recipe: Recipe) -> float:
        """Return about how many bytes of a machine's own memory hold what its devices don't."""
        if recipe.offload_optimizer_device == recipe.offload_param_device == "none":
            return 0.0
        near = recipe.replace(offload_optimizer_device="none", offload_param_device="none")
        of_one = self._standing(near) - self._standing(recipe)
        return of_one * min(recipe.num_processes, recipe.processes_per_machine)

    def _standing(self, recipe: Recipe) -> float:
        """Return the bytes of weights, gradients and the optimizer on a device."""
        stepping = recipe.replace(optimizer_form="fused")  # on the CPU that is one kernel
        done = estimate_training(self._weights, self._blueprint, as_stored(self._config, stepping)[0])
        parts = done.moments[-1].parts
        return parts.weights + parts.gradients + parts.optimizer

    def reach(self, recipe: Recipe, limit: float) -> Reach:
        """Return the longest sequence and the largest batch, each by itself, in the `room` of `limit` bytes."""

        def fits(**other: int) -> bool:
            return self.need(recipe.replace(**other)) <= room(limit)

        return reach(lambda length: fits(seq_len=length), lambda batch: fits(batch_size=batch), self._blueprint)

    def savings(self, recipe: Recipe, most: int = 5) -> tuple[Saving, ...]:
        """Return the best single change of each axis that saves more than `WORTH` of the peak, the largest first."""
        now = self.need(recipe)
        space = self.space(recipe)
        axes = ([self._saving(recipe, change, now) for change in axis] for axis in (*space.inner, *space.states))
        each = [max(axis, key=_saves) for axis in axes if axis]
        return tuple(sorted((it for it in each if it.saves > WORTH * now), key=_saves, reverse=True)[:most])

    def _saving(self, recipe: Recipe, change: changes.Change, now: float) -> Saving:
        try:
            saves = now - self.need(changed(recipe, [change]))
        except UsageError:  # an impossible combination
            saves = 0.0
        return Saving(change.name, flags([change]), saves)


def _saves(saving: Saving) -> float:
    return saving.saves


class Server:
    """A server of a model, as a search looks at it: settings in, expected bytes out."""

    def __init__(self, config: Mapping[str, Any], weights: Sequence[Weight], blueprint: Blueprint) -> None:
        self._weights, self._blueprint = weights, blueprint
        self._packed = bool(stored_packing(config))

    def need(self, how: Serving) -> float:
        """Return the expected bytes of one device.

        Raises:
            UsageError: a setting isn't possible.

        """
        return estimate_serving(self._weights, self._blueprint, how).expected

    def reach(self, how: Serving, limit: float) -> Reach:
        """Return the longest context and the largest batch, each by itself."""

        def fits(**other: int) -> bool:
            return self.need(how.replace(**other)) <= limit

        return reach(lambda n: fits(context_len=n), lambda n: fits(batch_size=n), self._blueprint)

    def answer(self, how: Serving, limit: int, devices: int) -> Answer | None:
        """Return the cheapest changes that fit in `limit` bytes of each of `devices`."""
        found = search(how, Space(changes.of_serving(how, devices, packed=self._packed)), self.need, limit)
        if found is None or found.needed >= self.need(how):
            return None
        return found.replace(reach=self.reach(found.settings, limit) if found.fits else None)


def loading(need: Callable[[str], int], dtype: str, limit: int) -> Answer | None:
    """Return the widest type of the weights that fits in `limit` bytes; `dtype` is the one asked for."""
    held = {name: need(name) for name in DTYPES}
    found = search(_Weights(dtype), Space([changes.of_weights(dtype)]), lambda it: held[it.dtype], limit)
    return None if found is None or found.needed >= held[dtype] else found


class _Weights(Record):
    """The type that weights are loaded in."""

    dtype: str
