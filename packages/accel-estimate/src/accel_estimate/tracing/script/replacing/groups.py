"""Other processes: this one is the first, and torch's fake process group answers for the others."""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib import import_module

from accel_estimate.tracing.groups import buckets
from accel_estimate.tracing.script.memory import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from types import ModuleType
    from typing import Any

    from accel_estimate.tracing.script.memory import Memory

torch: Any = import_module("torch")

VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher sets, and `--num_processes` too."""


def pretend(memory: Memory) -> None:
    """Have process groups, DDP and `spawn` work in this process alone, for the rest of it."""
    if not torch.distributed.is_available():
        return
    group: Any = import_module("torch.distributed.distributed_c10d")
    known = group.init_process_group

    def begin(*_args: Any, world_size: int = -1, **_named: Any) -> None:
        memory.processes = world_size if world_size > 0 else int(os.environ.get("WORLD_SIZE") or 1)
        fake: Any = import_module("torch.testing._internal.distributed.fake_pg")
        known("fake", rank=0, world_size=memory.processes, store=fake.FakeStore())

    for name in ("torch.distributed", "torch.distributed.distributed_c10d", "torch.distributed.device_mesh"):
        setattr(import_module(name), "init_process_group", begin)  # noqa: B010
    setattr(import_module("torch.multiprocessing"), "spawn", _spawn)  # noqa: B010
    _replicate(memory, import_module("torch.nn.parallel"))


def changes() -> dict[str, list[Callable[[ModuleType], None]]]:
    """Return what changes in libraries that divide models in other ways."""

    def refuse(owner: str, name: str, what: str) -> list[Callable[[ModuleType], None]]:
        def refused(*_args: Any, **_named: Any) -> None:
            raise UnsupportedError(f"uses {what}, which isn't traced; use DDP or FSDP 2 (fully_shard)")

        return [lambda module: setattr(getattr(module, owner) if owner else module, name, refused)]

    wrapped = refuse("FullyShardedDataParallel", "__init__", "FSDP 1")
    return {
        "torch.distributed.fsdp.fully_sharded_data_parallel": wrapped,
        "deepspeed": refuse("", "initialize", "DeepSpeed"),
    }


def _spawn(fn: Callable[..., Any], args: Any = (), *_args: Any, **_named: Any) -> None:
    """Run what the first process would run."""
    fn(0, *args)


def _places(trained: Sequence[Any]) -> list[Any]:
    """Return places that gradients move to once they are there, as in buckets with `gradient_as_bucket_view`."""

    def place(parameter: Any) -> Any:
        found = torch.zeros_like(parameter, requires_grad=False)

        def move(one: Any) -> None:
            one.grad = found

        parameter.register_post_accumulate_grad_hook(move)
        return found

    return [place(one) for one in trained]


def _replicate(memory: Memory, parallel: Any) -> None:
    """Have DataParallel be one device, and DDP its buckets: both look at numbers on their way."""
    module = torch.nn.Module

    def wrap(self: Any, model: Any, *_args: Any, gradient_as_bucket_view: bool = False, **_named: Any) -> None:
        module.__init__(self)
        self.module, self.require_backward_grad_sync, self.static_graph = model, True, False
        trained = [one for one in model.parameters() if one.requires_grad]
        device = any(memory.on_device(one) for one in trained)
        with memory.placing(device):
            self.__dict__["_buckets"] = _places(trained) if gradient_as_bucket_view else buckets(trained)
        memory.mark(self._buckets, "gradients" if gradient_as_bucket_view else "communication")

    @contextmanager
    def no_sync(self: Any) -> Generator[None]:
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    def there(one: Any) -> Any:
        return one.to("cuda")

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not memory.host and any(memory.on_device(one) for one in self.module.parameters()):
            args, kwargs = torch.utils._pytree.tree_map_only(torch.Tensor, there, (args, kwargs))
        return self.module(*args, **kwargs)

    def nothing(*_args: Any, **_named: Any) -> None: ...

    ddp = parallel.DistributedDataParallel
    ddp.__init__, ddp.no_sync, ddp.forward = wrap, no_sync, run
    ddp.register_comm_hook = ddp._set_static_graph = nothing
    parallel.DataParallel.forward = run
