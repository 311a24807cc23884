"""Have rank 0 wait in a collective for rank 1, which never comes to it.

absent.py cuda|cpu nccl|gloo
"""

import os
import sys
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from telling import tell

device = torch.device("cuda", 0) if sys.argv[1] == "cuda" else torch.device("cpu")
if torch.cuda.is_available() and torch.cuda.device_count() > 1:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
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
