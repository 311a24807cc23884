"""The same training as `train_digits.py`, written for Hugging Face's `Accelerator`.

    accelerate launch --cpu --num_processes 2 examples/train_digits_accelerate.py

The script knows nothing of ranks: the library reads what the launcher gives it.
"""

import argparse
import gc

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main() -> None:
    """Train and print the accuracy on images that were held out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    accelerator = Accelerator()
    torch.manual_seed(0)
    pixels, digits = load_digits(return_X_y=True)
    images, labels = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(digits)
    split = len(images) // 5
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train = TensorDataset(images[order[split:]], labels[order[split:]])
    held_out = TensorDataset(images[order[:split]], labels[order[:split]])
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    loader = DataLoader(train, batch_size=32, shuffle=True)
    evaluation = DataLoader(held_out, batch_size=32)
    model, optimizer, loader, evaluation = accelerator.prepare(model, optimizer, loader, evaluation)
    for epoch in range(arguments.epochs):
        total = 0.0
        for batch, target in loader:
            loss = nn.functional.cross_entropy(model(batch), target)
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            total += loss.item()
        accelerator.print(f"epoch {epoch + 1:2d}/{arguments.epochs}  loss {total / len(loader):.4f}")
    right = []
    with torch.no_grad():
        for batch, target in evaluation:
            guess, known = accelerator.gather_for_metrics((model(batch).argmax(1), target))
            right.append(guess == known)
    accuracy = torch.cat(right).float().mean().item()
    state = accelerator.state
    accelerator.print(
        f"accuracy {accuracy:.4f} on {len(torch.cat(right))} held-out images, "
        f"{state.num_processes} ranks, {state.distributed_type.value}, precision {state.mixed_precision}"
    )
    del model, optimizer, loader, evaluation
    gc.collect()
    accelerator.end_training()


if __name__ == "__main__":
    main()
