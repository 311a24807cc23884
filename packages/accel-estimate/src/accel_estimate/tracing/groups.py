"""Training on several devices: this process is the first, and torch's fake process group answers for the others."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module

from accel_estimate.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Any

    from accel_estimate.training.recipe import Recipe

torch: Any = import_module("torch")

BUCKETS = 2**20, 25 * 2**20
"""Bytes of DDP's first bucket, and of the others (`bucket_cap_mb`)."""


@contextmanager
def processes(recipe: Recipe) -> Generator[Any]:
    """Have a process group of as many processes as the recipe has; yield the mesh of its devices, None for one.

    Raises:
        UsageError: the devices of a machine don't divide all of them.

    """
    if recipe.num_processes == 1:
        yield None
        return
    inner = min(recipe.processes_per_machine, recipe.num_processes)
    if recipe.fsdp == "hybrid" and recipe.num_processes % inner:
        raise UsageError(f"--processes_per_machine {inner} doesn't divide --num_processes {recipe.num_processes}")
    shape = (recipe.num_processes // inner, inner) if recipe.fsdp == "hybrid" else (recipe.num_processes,)
    group: Any = import_module("torch.distributed")
    fake: Any = import_module("torch.testing._internal.distributed.fake_pg")
    group.init_process_group("fake", rank=0, world_size=recipe.num_processes, store=fake.FakeStore())
    try:
        mesh: Any = import_module("torch.distributed.device_mesh")
        yield mesh.init_device_mesh("cpu", shape, mesh_dim_names=("replicate", "shard")[-len(shape) :])
    finally:
        group.destroy_process_group()


def distribute(model: Any, recipe: Recipe, mesh: Any) -> list[Any]:
    """Shard a model by FSDP2; else return the buckets that DDP keeps beside it, with its own sizes.

    DDP itself looks at numbers on its way, which tensors without data don't have.
    """
    if mesh is None:
        return []
    if recipe.fsdp != "none":
        _shard(model, recipe, mesh)
        return []
    return buckets([parameter for parameter in model.parameters() if parameter.requires_grad])


def buckets(trained: Sequence[Any]) -> list[Any]:
    """Return the buckets that DDP keeps for gradients of parameters in the order of their modules."""
    trained = trained[::-1]
    assigned, _ = torch.distributed._compute_bucket_assignment_by_size(trained, list(BUCKETS))
    return [
        torch.zeros((sum(trained[index].numel() for index in indices),), dtype=trained[indices[0]].dtype)
        for indices in assigned
    ]


def before_a_pass(model: Any, *, reduces: bool) -> None:
    """Have gradients reduced in this pass or not: by default in the last of a step alone, as Accelerate does."""
    if hasattr(model, "set_requires_gradient_sync"):
        model.set_requires_gradient_sync(reduces)


def _shard(model: Any, recipe: Recipe, mesh: Any) -> None:
    """Shard each layer, and the rest as one unit; what is inside another unit comes first, as in Accelerate."""
    fsdp: Any = import_module("torch.distributed.fsdp")
    how: dict[str, Any] = {"mesh": mesh, "reshard_after_forward": recipe.fsdp != "grad_op"}
    if recipe.mixed_precision != "no":
        narrow = torch.float16 if recipe.mixed_precision == "fp16" else torch.bfloat16
        reduced = torch.float32 if recipe.gradient_dtype == "float32" else narrow
        how["mp_policy"] = fsdp.MixedPrecisionPolicy(param_dtype=narrow, reduce_dtype=reduced)
    if recipe.wrap == "layer":
        wrapped: set[str] = set(getattr(model, "_no_split_modules", None) or ())
        for module in reversed(list(model.modules())):
            if type(module).__name__ in wrapped:
                fsdp.fully_shard(module, **how)
    fsdp.fully_shard(model, **how)
