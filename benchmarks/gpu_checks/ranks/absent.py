"""Have rank 0 wait in a collective for rank 1, which never comes to it.

absent.py cuda|cpu nccl|gloo
"""

import sys
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from telling import tell

device = torch.device("cuda", 0) if sys.argv[1] == "cuda" else torch.device("cpu")
backend = sys.argv[2] if device.type == "cuda" else "gloo"
dist.init_process_group(backend, timeout=timedelta(minutes=5))
x = torch.ones(8, device=device)


def load() -> None:
    """Never come back."""
    time.sleep(1000)


tell(rank=dist.get_rank(), ready=True)
if dist.get_rank() == 1:
    load()
dist.all_reduce(x)
x.sum().item()
