"""A small model trained alone and together, and its checkpoints."""

# torch's own types are incomplete, and don't export these names, though torch's manual documents them.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import tempfile

import torch
import torch.distributed as dist

from accel_cli.trial.record import Skipped, Wrong
from accel_cli.trial.world import switched_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from accel_cli.trial.world import World

# The format of the computation, and the largest allowed difference of weights from sums in another order.
PRECISIONS = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 5e-3}
STEPS, RATE, WIDTH, SEED = 8, 0.1, 16, 42
SHARE = 8  # rows for each rank


def model(world: World) -> torch.nn.Module:
    """Return the untrained model, the same on every rank."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        layers = torch.nn.Sequential(torch.nn.Linear(WIDTH, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
    return layers.to(world.device)


def rows(world: World) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs and targets of all ranks."""
    generator = torch.Generator().manual_seed(SEED)
    inputs = torch.randn(SHARE * world.size, WIDTH, generator=generator)
    targets = inputs.sum(dim=1, keepdim=True).tanh()
    return inputs.to(world.device), targets.to(world.device)


def train(world: World, trained: torch.nn.Module, part: slice, precision: str) -> torch.optim.Optimizer:
    """Train on a part of the rows.

    Raises:
        Wrong: the loss didn't fall.
    """
    inputs, targets = (tensor[part] for tensor in rows(world))
    optimizer = torch.optim.SGD(trained.parameters(), lr=RATE, momentum=0.5)
    scaler = torch.amp.GradScaler(world.device.type, init_scale=1024.0, enabled=precision == "float16")
    losses: list[float] = []
    for _step in range(STEPS):
        optimizer.zero_grad()
        with computing_in(world, precision):
            loss = torch.nn.functional.mse_loss(trained(inputs), targets)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    if not losses[-1] < losses[0]:
        raise Wrong(f"the loss went from {losses[0]:.4g} to {losses[-1]:.4g} in {STEPS} steps")
    return optimizer


def computing_in(world: World, precision: str) -> AbstractContextManager[object]:
    """Return the context that computes in ``precision``."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(world.device.type, dtype=getattr(torch, precision))


def flat(trained: torch.nn.Module) -> torch.Tensor:
    """Return all weights in one row; sharded weights are gathered."""
    weights = [weight.detach() for weight in trained.parameters()]
    whole = [getattr(weight, "full_tensor", weight.detach)().reshape(-1) for weight in weights]
    return torch.cat(whole).float().cpu()


def same_as_alone(world: World, precision: str) -> str:
    """After training together, each rank has the weights of one process that trained on all rows."""
    if precision == "bfloat16" and world.device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise Skipped("this device has no bfloat16")
    together = torch.nn.parallel.DistributedDataParallel(
        model(world), device_ids=None if world.device.type == "cpu" else [world.device]
    )
    train(world, together, slice(world.rank, None, world.size), precision)
    return _compare(world, together, precision)


def sharded(world: World) -> str:
    """The same with sharded parameters, if the settings use FSDP."""
    if not switched_on("ACCELERATE_USE_FSDP"):
        raise Skipped("the settings don't use FSDP")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    together = model(world)
    fully_shard(together, mesh=init_device_mesh(world.device.type, (world.size,)))
    train(world, together, slice(world.rank, None, world.size), "float32")
    return _compare(world, together, "float32")


def _compare(world: World, together: torch.nn.Module, precision: str) -> str:
    alone = model(world)
    train(world, alone, slice(None), precision)
    weights = flat(together)
    everyone = [torch.empty_like(weights) for _ in range(world.size)]
    dist.all_gather(everyone, weights)
    different = [rank for rank, other in enumerate(everyone) if not torch.equal(other, everyone[0])]
    if different:
        raise Wrong(f"after training, the weights of rank 0 differ from those of {different}")
    off = float((weights - flat(alone)).abs().max())
    if not off <= PRECISIONS[precision]:
        raise Wrong(
            f"weights differ by {off:.2g} from those trained alone; at most {PRECISIONS[precision]:g} is right"
        )
    return f"weights within {off:.1g} of those trained alone"


def checkpoint(world: World) -> str:
    """A rank reads back what it saved, bit by bit."""
    trained = model(world)
    optimizer = train(world, trained, slice(None), "float32")
    with tempfile.NamedTemporaryFile() as file:  # on this rank's own machine
        torch.save({"model": trained.state_dict(), "optimizer": optimizer.state_dict()}, file)
        size = file.tell()
        file.seek(0)
        saved = torch.load(file, weights_only=True, map_location=world.device)
    fresh = model(world)
    fresh.load_state_dict(saved["model"])
    if not torch.equal(flat(fresh), flat(trained)):
        raise Wrong("the loaded model differs from the saved one")
    return f"{size} bytes"


def sharded_checkpoint(world: World, folder: Path) -> str | None:
    """The ranks read back together what they saved together."""
    if not world.one_machine:
        raise Skipped("the ranks are on several machines, which may not share a folder")
    import torch.distributed.checkpoint as dcp

    trained = model(world)
    train(world, trained, slice(None), "float32")
    state = {"model": trained.state_dict()}
    dcp.save(state, checkpoint_id=folder)
    wanted = flat(trained)
    for tensor in state["model"].values():
        tensor.zero_()
    dcp.load(state, checkpoint_id=folder)
    trained.load_state_dict(state["model"])
    if not torch.equal(flat(trained), wanted):
        raise Wrong("the loaded model differs from the saved one")
    return None
