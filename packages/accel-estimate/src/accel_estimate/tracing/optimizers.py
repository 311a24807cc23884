"""The optimizers of a recipe: torch's own AdamW and SGD, and others by what their step allocates."""

from __future__ import annotations

from importlib import import_module

from accel_estimate.tracing.tracker import local
from accel_estimate.training.optimizers import EIGHT_BIT_BLOCK, EIGHT_BIT_SMALLEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from accel_estimate.training.recipe import Recipe

torch: Any = import_module("torch")


def make(parameters: Sequence[Any], recipe: Recipe) -> Any:
    """Return the recipe's optimizer for parameters."""
    if recipe.optimizer in ("adamw", "sgd"):
        form = {"foreach": recipe.optimizer_form == "foreach", "fused": recipe.optimizer_form == "fused"}
        kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.SGD
        return kind(parameters, lr=1e-5, **form)
    return Stepper(parameters, _OTHERS[recipe.optimizer])


class Stepper(torch.optim.Optimizer):
    """An optimizer that steps one parameter after the other with a function of it, its gradient and its states."""

    def __init__(self, parameters: Sequence[Any], one: Callable[[Any, Any, dict[str, Any]], None]) -> None:
        super().__init__(parameters, {})  # pyright: ignore[reportUnknownMemberType]
        self._one = one

    def step(self, closure: Any = None) -> None:  # noqa: ARG002 - as torch's own have it
        """Step everything that has a gradient."""
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._one(local(parameter), local(parameter.grad), self.state[parameter])


def _lion(parameter: Any, gradient: Any, state: dict[str, Any]) -> None:
    """Step as in arXiv 2302.06675, listing 1: one momentum, and the update made beside it."""
    if not state:
        state["exp_avg"] = torch.zeros_like(parameter)
    momentum = state["exp_avg"]
    update = momentum.clone().mul_(0.9).add_(gradient, alpha=0.1).sign_()
    parameter.add_(update, alpha=-1e-5)
    momentum.mul_(0.99).add_(gradient, alpha=0.01)


def _eight_bit(parameter: Any, _gradient: Any, state: dict[str, Any]) -> None:
    """Keep what bitsandbytes keeps: a kernel steps in place, without temporary tensors."""
    if state:
        return
    small = parameter.numel() < EIGHT_BIT_SMALLEST
    for name in ("state1", "state2"):
        state[name] = torch.zeros_like(parameter, dtype=torch.float32 if small else torch.uint8)
        if not small:
            blocks = -(-parameter.numel() // EIGHT_BIT_BLOCK)
            state[name + "_absmax"] = torch.zeros((blocks,), dtype=torch.float32)


def _adafactor(parameter: Any, gradient: Any, state: dict[str, Any]) -> None:
    """Step as in arXiv 1804.04235, algorithms 4 and 5: means of rows and columns, or one number each for a vector."""
    gradient = gradient.float()
    squared = gradient.pow(2).add_(1e-30)
    if gradient.dim() > 1:
        if not state:
            state["row"], state["column"] = (torch.zeros_like(squared.mean(dim)) for dim in (-1, -2))
        row, column = state["row"], state["column"]
        row.mul_(0.9).add_(squared.mean(-1), alpha=0.1)
        column.mul_(0.9).add_(squared.mean(-2), alpha=0.1)
        factor = (row / row.mean(-1, keepdim=True)).rsqrt_().unsqueeze(-1)
        update = torch.mul(factor, column.unsqueeze(-2).rsqrt()).mul_(gradient)
    else:
        if not state:
            state["whole"] = torch.zeros_like(squared)
        state["whole"].mul_(0.9).add_(squared, alpha=0.1)
        update = state["whole"].rsqrt().mul_(gradient)
    del squared
    update.div_(update.norm(2).div_(update.numel() ** 0.5).clamp_(min=1.0))
    parameter.add_(update, alpha=-1e-5)


_OTHERS: dict[str, Callable[[Any, Any, dict[str, Any]], None]] = {
    "lion": _lion,
    "adamw_8bit": _eight_bit,
    "adafactor": _adafactor,
}
