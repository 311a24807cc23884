"""Wait in a collective for longer than its timeout: for another rank, or for a kernel before it if there is none.

late.py cuda|cpu
"""

import os
import sys
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from telling import tell

cuda = sys.argv[1] == "cuda"
place = int(os.environ["LOCAL_RANK"])
device = torch.device("cuda", place) if cuda else torch.device("cpu")
if cuda:
    torch.cuda.set_device(device)
dist.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(seconds=4))
x = torch.ones(8, device=device)
dist.all_reduce(x)
tell(first=x[0].item())
if dist.get_world_size() == 1:
    torch.cuda._sleep(30_000_000_000)  # cycles of the device: 15 s at 2 GHz
elif dist.get_rank() == 1:
    time.sleep(1000)
dist.all_reduce(x)
tell(last=x[0].item())
