"""A plain loop with what such loops have: autocast, a scaler, clipping, a scheduler, accumulation, prints, checkpoints."""

import argparse
import math

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Words(nn.Module):
    """Words in, the next word out."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
            for _ in range(2)
        )
        self.scale = nn.Parameter(torch.ones(width))
        self.register_buffer("mask", torch.tril(torch.ones(8, 8)))
        self.head = nn.Linear(width, vocabulary)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        found = self.embed(words)
        for layer in self.layers:
            found = found + layer(found)
        return self.head(found * self.scale)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--amp", choices=["float16", "bfloat16"])
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--save", default="")
    parser.add_argument("--optimizer", default="AdamW")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    data = TensorDataset(torch.randint(0, 500, (256, 33)))
    model = Words(500, 128).to(device)
    assert next(model.parameters()).device.type == device.type
    print(f"{sum(one.numel() for one in model.parameters())} parameters on {device}")
    optimizer = getattr(torch.optim, args.optimizer)(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    scaler = torch.amp.GradScaler(device.type, enabled=args.amp == "float16")
    losses, total = [], torch.zeros((), device=device)
    for number, (rows,) in enumerate(
        DataLoader(data, batch_size=16, shuffle=True, num_workers=0, pin_memory=device.type == "cuda")
    ):
        words = rows.to(device, non_blocking=True)
        with torch.autocast(device.type, getattr(torch, args.amp or "bfloat16"), enabled=args.amp is not None):
            logits = model(words[:, :-1])
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), words[:, 1:].flatten())
        if torch.isnan(loss) or not torch.isfinite(loss).all():
            raise SystemExit("the loss is no number")
        scaler.scale(loss / args.accumulate).backward()
        if (number + 1) % args.accumulate == 0:
            scaler.unscale_(optimizer)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            optimizer.zero_grad(set_to_none=True)
            print(f"loss {loss:.3f} {loss.item():.3f} {math.exp(loss.item()):.1f}", loss, norm)
        losses.append(float(loss))
        total += loss.detach()
        right = (logits.argmax(-1) == words[:, 1:]).float().mean()
        print(right.cpu().numpy(), (words > 3).sum().item(), losses)
        if args.save:
            torch.save(model.state_dict(), args.save)


if __name__ == "__main__":
    main()
