"""Take more memory than the device has; a rehearsal raises what torch raises.

fill.py cuda|cpu
"""

import sys

import torch


def grow() -> None:
    """Take a gibibyte after the other."""
    if sys.argv[1] == "cpu":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB. (a rehearsal)")
    held: list[torch.Tensor] = []
    while True:
        held.append(torch.empty(1 << 30, dtype=torch.uint8, device="cuda"))


grow()
