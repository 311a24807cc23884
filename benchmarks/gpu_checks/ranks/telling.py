"""What the scripts of this folder share: telling a check something, and memory on a device, real or rehearsed."""

import json
import os
import sys
from typing import Any

MARK = "GPU-CHECK "
STAND_IN = "GPU_CHECK_STAND_IN"
"""The folder of a stand-in of nvidia-smi, to which a rehearsal tells what it would hold."""
GIB = 1 << 30
CONTEXT = 0.5
"""GiB that a rehearsed process holds beside its tensors."""


def tell(**facts: Any) -> None:
    """Print a line for the check, in one write, so that ranks don't mix."""
    sys.stdout.write(f"{MARK}{json.dumps(facts)}\n")
    sys.stdout.flush()


def hold(gibibytes: float, *, device: str) -> Any:
    """Hold memory of a device; a rehearsal tells the stand-in's driver so. Return what has to be kept."""
    if device == "cpu":
        folder = os.environ.get(STAND_IN)
        if folder and gibibytes:
            with open(os.path.join(folder, "living"), "a", encoding="ascii") as file:  # noqa: PTH118, PTH123
                file.write(f"{os.getpid()} {round((gibibytes + CONTEXT) * 1024)}\n")
        return None
    import torch

    held = torch.empty(round(gibibytes * GIB), dtype=torch.uint8, device=device)
    held.fill_(1)
    torch.cuda.synchronize()
    return held
