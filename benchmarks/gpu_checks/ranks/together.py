"""Reduce over all ranks, each with a tensor on a device of its own if there are so many, and tell how that went.

together.py cuda|cpu [nccl|gloo]
"""

import os
import sys

import torch
import torch.distributed as dist
from telling import tell

device = torch.device("cpu")
if sys.argv[1] == "cuda":
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    torch.cuda.set_device(device)
backend = sys.argv[2] if device.type == "cuda" else "gloo"
dist.init_process_group(backend, rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]))
found = torch.full((1024,), float(dist.get_rank() + 1), device=device)
dist.all_reduce(found)
tell(sum=found[0].item(), backend=dist.get_backend(), device=str(found.device), world=dist.get_world_size())
dist.destroy_process_group()
