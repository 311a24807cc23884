"""Tell what the process was like when the script began, and when its first kernel had run.

kernel.py cuda|cpu
"""

import os
import sys
import time

preloaded = "torch" in sys.modules
import torch  # noqa: E402
from telling import tell  # noqa: E402

initialized, forked_badly = torch.cuda.is_initialized(), torch.cuda._is_in_bad_fork()
x = torch.ones(256, 256, device=sys.argv[1])
total = (x @ x).sum().item()
tell(
    rank=os.environ.get("RANK"),
    preloaded=preloaded,
    initialized=initialized,
    forked_badly=forked_badly,
    device=str(x.device),
    total=total,
    at=time.time(),
)
