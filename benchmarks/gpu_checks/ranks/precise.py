"""Train a small network in the precision that the launcher sets, by autocast, and tell how that went.

precise.py cuda|cpu
"""

import os
import sys

import torch
from telling import tell

precision = os.environ["ACCELERATE_MIXED_PRECISION"]
kind = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
device = sys.argv[1]
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 16)).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
scaler = torch.amp.GradScaler(device, enabled=precision == "fp16" and device == "cuda")
x, y = torch.randn(512, 256, device=device), torch.randint(16, (512,), device=device)
losses: list[float] = []
computed = ""
for _step in range(20):
    with torch.autocast(device, kind):
        out = model(x)
        loss = torch.nn.functional.cross_entropy(out.float(), y)
    computed = str(out.dtype).removeprefix("torch.")
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    losses.append(loss.item())
tell(precision=precision, computed=computed, first=losses[0], last=losses[-1], device=str(x.device))
