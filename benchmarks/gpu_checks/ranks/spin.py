"""Start a kernel that never ends, and wait for it; a rehearsal waits for a lock.

spin.py cuda|cpu
"""

import sys
import threading

import torch
from telling import tell


def wait_for_kernel() -> None:
    """Wait forever."""
    if sys.argv[1] == "cpu":
        threading.Semaphore(0).acquire()
    torch.cuda.synchronize()


if sys.argv[1] == "cuda":
    torch.ones(1, device="cuda").sum().item()
    torch.cuda._sleep(1 << 62)  # a loop on the device over this many of its cycles
tell(ready=True)
wait_for_kernel()
