"""The steps of a script: where forward pass, backward pass and optimizer step begin, and where the second ends."""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from importlib import import_module

from accel_estimate.tracing.script.memory import fakes
from accel_estimate.tracing.tracker import BACKWARD, FORWARD, STEP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from accel_estimate.tracing.script.memory import Memory

torch: Any = import_module("torch")
_optimizers: Any = import_module("torch.optim.optimizer")

STEPS = 2
"""What is run: the second step finds the optimizer's states where the first left them."""
_ORDER = ("first step", "second step")


class EnoughError(BaseException):
    """The second step is done. No script catches it as a failure of its own."""


class Steps:
    """Follows the steps, and says what tensors are for; `trained` is the number of trained parameters."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._counts: dict[int, int] = {}
        self._names: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self._models: list[Any] = []
        self._begun = False
        self.trained = 0

    @property
    def done(self) -> int:
        """The steps that every optimizer has made."""
        return min(self._counts.values(), default=0)

    @contextmanager
    def followed(self) -> Generator[None]:
        """Follow all modules and optimizers of this process."""
        hooks = torch.nn.modules.module
        handles = [
            hooks.register_module_forward_pre_hook(self._enters),
            hooks.register_module_forward_hook(self._leaves, always_call=True),
            _optimizers.register_optimizer_step_pre_hook(self._steps),
            _optimizers.register_optimizer_step_post_hook(self._stepped),
        ]
        known = torch.autograd.backward, torch.autograd.grad
        torch.autograd.backward, torch.autograd.grad = (self._inside(one) for one in known)
        try:
            yield
        finally:
            torch.autograd.backward, torch.autograd.grad = known
            for handle in handles:
                handle.remove()

    def _inside(self, known: Callable[..., Any]) -> Callable[..., Any]:
        def backward(*args: Any, **kwargs: Any) -> Any:
            self._moment(BACKWARD)
            try:
                return known(*args, **kwargs)
            finally:
                for model in self._alive():
                    self._memory.mark((one.grad for one in model.parameters() if one.grad is not None), "gradients")
                self._moment(FORWARD)

        return backward

    def _moment(self, name: str) -> None:
        self._begun = True
        self._memory.moment(name, f"{_ORDER[min(self.done, STEPS - 1)]}, {name}")

    def _alive(self) -> list[Any]:
        return [model for one in self._models if (model := one()) is not None]

    def _enters(self, module: Any, _inputs: Any) -> None:
        if not self._memory._modules and module not in self._names:
            self._meet(module)
        if not self._begun and torch.is_grad_enabled():
            self._moment(FORWARD)
        self._memory._modules.append(self._names.get(module, type(module).__name__))

    def _leaves(self, _module: Any, _inputs: Any, _outputs: Any) -> None:
        if self._memory._modules:
            self._memory._modules.pop()

    def _meet(self, model: Any) -> None:
        self._models.append(weakref.ref(model))
        for name, module in model.named_modules():
            self._names[module] = name or type(module).__name__
        self._memory.mark((*model.parameters(), *model.buffers()), "weights")

    def _steps(self, optimizer: Any, _args: Any, _kwargs: Any) -> None:
        self._counts.setdefault(id(optimizer), 0)
        self._memory.mark(fakes(list(optimizer.state.values())), "optimizer")  # of a checkpoint
        self._moment(STEP)

    def _stepped(self, optimizer: Any, _args: Any, _kwargs: Any) -> None:
        self._counts[id(optimizer)] += 1
        stepped = {id(one): one.numel() for group in optimizer.param_groups for one in group["params"]}
        self.trained += sum(stepped.values()) if self._counts[id(optimizer)] == 1 else 0
        if self.done >= STEPS:
            self._memory.moment("", "")
            raise EnoughError
        self._moment(FORWARD)
