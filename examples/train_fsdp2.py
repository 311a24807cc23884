"""Train a small network on handwritten digits with its parameters sharded over the ranks (FSDP 2).

    accelerate launch --use_fsdp --fsdp_version 2 --num_processes 2 examples/train_fsdp2.py

`fully_shard` of torch by itself, on GPUs or on CPUs with gloo: the script reads how to shard from the environment,
which the launcher sets.
"""

import argparse
import gc
import os
import time

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

PRECISIONS = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def main() -> None:
    """Train and print the accuracy on images that were held out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    summary = train(arguments.epochs, device)
    if dist.get_rank() == 0:
        print(summary, flush=True)
    # What still holds gloo's threads when the interpreter ends can abort it: let go of it first.
    gc.collect()
    dist.destroy_process_group()


def train(epochs: int, device: str) -> str:
    """Train, and return how it went in words."""
    world, rank = dist.get_world_size(), dist.get_rank()
    torch.manual_seed(0)
    model = shard(nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).to(device), device, world)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    images, (held_out, labels) = data()
    sampler = DistributedSampler(images, world, rank)
    loader = DataLoader(images, batch_size=32, sampler=sampler)
    started = time.monotonic()
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for batch, digits in loader:
            loss = nn.functional.cross_entropy(model(batch.to(device)).float(), digits.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        right = (model(held_out.to(device)).argmax(1).cpu() == labels).float().mean().item()
    first = next(parameter for parameter in model.parameters() if isinstance(parameter, DTensor))
    held = f"{type(model).__name__} of {type(first).__name__}, {first.to_local().numel()} of {first.numel()} here"
    return f"accuracy {right:.4f}, {world} ranks, {held}, {time.monotonic() - started:.1f} s"


def shard(model: nn.Sequential, device: str, world: int) -> nn.Module:
    """Shard each layer and then the whole, following the variables that `accelerate launch` sets."""
    read = os.environ.get
    if read("ACCELERATE_USE_FSDP") != "true" or read("FSDP_VERSION") != "2":
        raise SystemExit("start this with: accelerate launch --use_fsdp --fsdp_version 2")
    precision = PRECISIONS[read("ACCELERATE_MIXED_PRECISION", "no")]
    mesh = init_device_mesh(device, (world,))
    reshard = read("FSDP_RESHARD_AFTER_FORWARD", "true") == "true"
    precision_policy = MixedPrecisionPolicy(param_dtype=precision)
    offload = CPUOffloadPolicy() if read("FSDP_OFFLOAD_PARAMS") == "true" and device != "cpu" else OffloadPolicy()
    for module in (*(layer for layer in model if isinstance(layer, nn.Linear)), model):
        fully_shard(
            module, mesh=mesh, reshard_after_forward=reshard, mp_policy=precision_policy, offload_policy=offload
        )
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    return model


def data() -> tuple[TensorDataset, tuple[torch.Tensor, torch.Tensor]]:
    """Return the images to train on, and the fifth of them that is held out."""
    pixels, digits = load_digits(return_X_y=True)
    images, labels = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(digits)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    split = len(images) // 5
    held_out, train = order[:split], order[split:]
    return TensorDataset(images[train], labels[train]), (images[held_out], labels[held_out])


if __name__ == "__main__":
    main()
