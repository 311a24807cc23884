"""Tell what torch sees of CUDA, or why nothing."""

import torch
import torch.cuda.nccl
from telling import tell

found = torch.cuda.is_available()
devices = [torch.cuda.get_device_properties(place) for place in range(torch.cuda.device_count() if found else 0)]
why = "" if found else "torch sees no CUDA device: it is built for the CPU, or the driver is too old for it"
try:
    free = torch.cuda.mem_get_info()[0] if found else None
except RuntimeError as error:  # in use elsewhere, in an exclusive mode
    free, why = None, f"CUDA can't be used: {str(error).splitlines()[0]}"
tell(
    torch=torch.__version__,
    cuda=torch.version.cuda,
    nccl=".".join(map(str, torch.cuda.nccl.version())) if found else None,
    devices=[{"name": one.name, "uuid": str(getattr(one, "uuid", "")), "total": one.total_memory} for one in devices],
    bf16=found and torch.cuda.is_bf16_supported(including_emulation=False),
    free=free,
    why=why,
)
