"""Every way to spread a training run over devices, with its memory."""

from __future__ import annotations

from types import MappingProxyType

from accel_config.record import Record
from accel_estimate.answer.changes import RANK
from accel_estimate.devices.limits import Devices, fits_barely, read_devices, room
from accel_estimate.errors import UsageError
from accel_estimate.estimation.subject import as_stored, blueprint_of
from accel_estimate.model.weights import logical
from accel_estimate.training.recipe import Recipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from accel_estimate.model.checkpoint import Model


class Strategy(Record):
    """A way to spread a run, and the memory of one device in bytes."""

    name: str
    """That of a preset, such as ``ddp`` or ``fsdp2``; ``single`` is one process."""
    recipe: Recipe
    """The run, spread so."""
    low: float
    """What it needs at least."""
    expected: float
    """What the device must have."""
    high: float
    """What the least careful implementation needs."""
    limit: int
    """What the device has."""
    host: float = 0.0
    """About what it takes of a machine's own memory, where it offloads."""

    @property
    def fits(self) -> bool:
        """Whether the device has the expected memory, and some to spare."""
        return self.expected <= room(self.limit)

    @property
    def barely(self) -> bool:
        """Whether the device has the expected memory, and less to spare than that takes."""
        return fits_barely(self.expected, self.limit)


_CPU = {"offload_param_device": "cpu"}
_ALONE = {"zero_stage": -1, "fsdp": "none", "offload_optimizer_device": "none", "offload_param_device": "none"}

# What each strategy sets; the recipe's batch, length, precision and adapters stay.
STRATEGIES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "single": {},
        "ddp": {},
        "fsdp2": {"fsdp": "full", "fsdp_version": 2},
        "hsdp": {"fsdp": "hybrid", "fsdp_version": 2},
        "fsdp2-offload": {"fsdp": "full", "fsdp_version": 2, **_CPU},
        "zero2": {"zero_stage": 2},
        "zero3": {"zero_stage": 3},
        "zero3-offload": {"zero_stage": 3, "offload_optimizer_device": "cpu", **_CPU},
        "qlora-fsdp": {"fsdp": "full", "fsdp_version": 1, "quantize": "nf4"},
        "qlora-fsdp-offload": {"fsdp": "full", "fsdp_version": 1, "quantize": "nf4", **_CPU},
    }
)
_ON_ONE = ("single", "fsdp2-offload", "zero3-offload", "qlora-fsdp-offload")


def strategies(model: Model, on: Devices | str, recipe: Recipe | None = None) -> tuple[Strategy, ...]:
    """Return the memory of each strategy on `on`, such as "8xh100" or "2x8xh100" (two machines).

    `recipe` is the run: its batch, length, precision, optimizer and adapters; how it is spread is replaced. One
    device has ``single`` and the strategies that offload; ``hsdp`` needs two machines. ``qlora-fsdp`` trains
    adapters, of rank 16 unless the recipe has a rank. Strategies that can't be combined with the recipe are left out.

    Raises:
        UsageError: the devices aren't known, or only the sizes of the model's weights are.

    """
    from accel_estimate.answer.answers import Training
    from accel_estimate.training.step import estimate_training

    where = read_devices(on) if isinstance(on, str) else on
    weights, blueprint = logical(model.tensors, model.config), blueprint_of(model)
    base, _ = as_stored(model.config, (recipe or Recipe()).replace(**_ALONE, card=where.card))
    spread = {"num_processes": where.count}
    if where.count > 1:
        spread["processes_per_machine"] = where.per_machine
    run = Training(model.config, weights, blueprint)
    found: list[Strategy] = []
    for name, fields in STRATEGIES.items():
        if not _applies(name, where):
            continue
        rank = {"lora_rank": base.lora_rank or RANK} if "quantize" in fields else {}
        wanted = base.replace(**{**spread, **fields, **rank})
        try:
            it = estimate_training(weights, blueprint, wanted)
        except UsageError:  # impossible with this recipe
            continue
        found.append(Strategy(name, wanted, it.low, it.expected, it.high, where.limit, run.host(wanted)))
    return tuple(found)


def _applies(name: str, where: Devices) -> bool:
    if where.count == 1:
        return name in _ON_ONE
    return name != "single" and (name != "hsdp" or where.count > where.per_machine)
