"""Tell what torch sees of CUDA, or why nothing."""

import torch
import torch.cuda.nccl
from telling import tell


def failure() -> str:
    """Return why no kernel can run, in the words of torch; empty if one has run."""
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    try:
        torch.ones(1, device="cuda").sum().item()
    except Exception as error:  # an old driver, an architecture unknown to torch, a mode
        return f"no kernel runs: {' '.join(str(error).split())[:200]}"
    return ""


why = failure()
found = torch.cuda.is_available()
devices = [torch.cuda.get_device_properties(place) for place in range(torch.cuda.device_count() if found else 0)]
tell(
    torch=torch.__version__,
    cuda=torch.version.cuda,
    nccl=".".join(map(str, torch.cuda.nccl.version())) if found else None,
    devices=[{"name": one.name, "uuid": str(getattr(one, "uuid", "")), "total": one.total_memory} for one in devices],
    bf16=found and torch.cuda.is_bf16_supported(including_emulation=False),
    free=None if why else torch.cuda.mem_get_info()[0],
    why=why,
)
