"""Train a small network on handwritten digits with DeepSpeed's ZeRO, on as many ranks as are launched.

    accelerate launch --use_deepspeed --zero_stage 2 --num_processes 2 examples/train_deepspeed.py

DeepSpeed by itself, without Hugging Face's library: the script reads the launcher's ZeRO settings from the
environment. On CPUs more than one rank needs a C++ compiler at the first start, for DeepSpeed's shared memory.
"""

import argparse
import gc
import os
import time
from typing import Any

import deepspeed
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def main() -> None:
    """Train and print the accuracy on images that were held out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    deepspeed.init_distributed()
    summary = train(arguments.epochs)
    if torch.distributed.get_rank() == 0:
        print(summary, flush=True)
    # What still holds gloo's threads when the interpreter ends can abort it: let go of it first.
    gc.collect()
    torch.distributed.destroy_process_group()


def train(epochs: int) -> str:
    """Train, and return how it went in words."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    engine, *_others = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=config())
    images, (held_out, labels) = data()
    world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    sampler = DistributedSampler(images, world, rank)
    loader = DataLoader(images, batch_size=engine.train_micro_batch_size_per_gpu(), sampler=sampler)
    started = time.monotonic()
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for batch, digits in loader:
            loss = nn.functional.cross_entropy(engine(batch.to(engine.device)), digits.to(engine.device))
            engine.backward(loss)
            engine.step()
    with torch.no_grad():
        right = (engine(held_out.to(engine.device)).argmax(1).cpu() == labels).float().mean().item()
    kind = f"{type(engine).__name__}, ZeRO stage {engine.zero_optimization_stage()}"
    engine.destroy()
    return f"accuracy {right:.4f}, {world} ranks, {kind}, {time.monotonic() - started:.1f} s"


def config() -> dict[str, Any] | str:
    """Return DeepSpeed's configuration, from the variables that `accelerate launch` sets."""
    read = os.environ.get
    file = read("ACCELERATE_DEEPSPEED_CONFIG_FILE")
    if file:
        return file
    precision = read("ACCELERATE_MIXED_PRECISION", "no")
    zero: dict[str, Any] = {"stage": int(read("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2"))}
    for part in ("optimizer", "param"):
        device = read(f"ACCELERATE_DEEPSPEED_OFFLOAD_{part.upper()}_DEVICE", "none")
        if device != "none":
            path = read(f"ACCELERATE_DEEPSPEED_OFFLOAD_{part.upper()}_NVME_PATH")
            zero[f"offload_{part}"] = {"device": device, **({"nvme_path": path} if device == "nvme" else {})}
    return {
        "train_micro_batch_size_per_gpu": 32,
        "gradient_accumulation_steps": int(read("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")),
        "gradient_clipping": float(read("ACCELERATE_GRADIENT_CLIPPING", "0")),
        "zero_optimization": zero,
        "fp16": {"enabled": precision == "fp16"},
        "bf16": {"enabled": precision == "bf16"},
        # DeepSpeed's own Adam would have to be compiled.
        "optimizer": {"type": "AdamW", "params": {"lr": 2e-3, "torch_adam": True}},
        "zero_allow_untested_optimizer": True,
    }


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
