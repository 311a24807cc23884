"""What scripts do beside a plain loop: averages of weights, `DataParallel`, default devices, decisions by the loss."""

import copy

import torch
from scripted.model import Net
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

on_device = torch.cuda.is_available()
device = torch.device("cuda" if on_device else "cpu")
torch.manual_seed(0)
with device:
    model = Net()
average, other = copy.deepcopy(model).eval().requires_grad_(False), AveragedModel(model, None, get_ema_multi_avg_fn())
assert next(average.parameters()).device == next(model.parameters()).device
assert not next(average.parameters()).requires_grad
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
parallel = nn.DataParallel(model) if on_device else model
torch.set_default_device(device)
best = float("inf")
for _ in range(4):
    images, labels = torch.randn(32, 64, device="cpu"), torch.randint(50, (32,))
    loss = nn.functional.cross_entropy(parallel(images), labels)
    if loss > 1e4 or (loss < 0).any():
        break
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    other.update_parameters(model)
    with torch.no_grad():
        for mine, theirs in zip(average.parameters(), model.parameters(), strict=True):
            mine.lerp_(theirs, 0.1)
    if loss < best:
        best = loss.detach()
        torch.save(model.state_dict(), "best.pt")
