"""Train a small network on handwritten digits, on one process or many.

    accelerate launch --cpu --num_processes 2 examples/train_digits.py --epochs 20

Plain torch: the launcher sets each rank's number in the environment, and DistributedDataParallel averages the
gradients. The data is scikit-learn's copy of the UCI digits: 1,797 images of 8 x 8 pixels.
"""

import argparse
import gc
import os
import time

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def main() -> None:
    """Train and print the accuracy on images that were held out."""
    arguments = parse()
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if torch.cuda.is_available() else "cpu"
    torch.manual_seed(arguments.seed)
    train, held_out = data(arguments.seed)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).to(device)
    trained = DistributedDataParallel(model) if world > 1 else model
    optimizer = torch.optim.AdamW(trained.parameters(), lr=arguments.learning_rate)
    sampler = DistributedSampler(train, world, rank, seed=arguments.seed)
    loader = DataLoader(train, batch_size=arguments.batch_size, sampler=sampler)
    started = time.monotonic()
    for epoch in range(arguments.epochs):
        sampler.set_epoch(epoch)
        loss = train_epoch(trained, loader, optimizer, device)
        if rank == 0:
            print(f"epoch {epoch + 1:2d}/{arguments.epochs}  loss {loss:.4f}", flush=True)
    if rank == 0:
        right = accuracy(model, held_out, device)
        seconds = time.monotonic() - started
        print(f"accuracy {right:.4f} on {len(held_out)} held-out images, {world} ranks, {seconds:.1f} s", flush=True)
    # A DistributedDataParallel that still lives when the interpreter ends can abort it: let go of it first.
    del trained, model, optimizer
    gc.collect()
    if world > 1:
        dist.destroy_process_group()


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=32, help="images in a batch of one rank")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def data(seed: int) -> tuple[TensorDataset, TensorDataset]:
    """Return the images to train on, and the fifth of them that is held out."""
    pixels, digits = load_digits(return_X_y=True)
    images, labels = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(digits)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    split = len(images) // 5
    held_out, train = order[:split], order[split:]
    return TensorDataset(images[train], labels[train]), TensorDataset(images[held_out], labels[held_out])


def train_epoch(
    model: nn.Module,
    loader: DataLoader[tuple[torch.Tensor, ...]],
    optimizer: torch.optim.Optimizer,
    device: torch.device | str,
) -> float:
    """Go once over this rank's share of the data; return its mean loss."""
    total = 0.0
    for images, labels in loader:
        loss = nn.functional.cross_entropy(model(images.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)


def accuracy(model: nn.Module, held_out: TensorDataset, device: torch.device | str) -> float:
    """Return the share of held-out images that the model names right."""
    images, labels = held_out.tensors
    with torch.no_grad():
        return (model(images.to(device)).argmax(1) == labels.to(device)).float().mean().item()


if __name__ == "__main__":
    main()
