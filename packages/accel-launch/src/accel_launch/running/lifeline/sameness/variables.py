"""The variables that libraries read, as a machine reports them."""

from __future__ import annotations

import hashlib
import hmac

from accel_config.showing.masking import text as masked
from accel_config.showing.secrets import secret as is_secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FAMILIES = (
    *("NCCL_", "TORCH_", "TORCHINDUCTOR_", "TORCHDYNAMO_", "PYTORCH_", "HF_", "TRANSFORMERS_", "DIFFUSERS_", "GLOO_"),
    *("OMP_", "KMP_", "MKL_", "OPENBLAS_", "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_TF32", "RCCL_", "HIP_", "HSA_"),
    *("MIOPEN_", "UCX_", "FI_", "TOKENIZERS_", "DS_", "DEEPSPEED_", "BNB_", "XLA_", "TRITON_", "NVTE_", "TP_"),
)
ALONE = frozenset(("PYTHONHASHSEED", "PYTHONOPTIMIZE", "PYTHONPATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "MALLOC_CONF"))
# The last words of names whose values belong to one machine: whether they are set is compared, not what they are.
OWN = frozenset(
    (
        *("IFNAME", "HCA", "ADDR", "ADDRESS", "HOST", "HOSTNAME", "HOSTID", "IP", "PORT", "RANK"),
        *("ID", "DEVICES", "DEVICE", "NODE", "PLACES", "AFFINITY", "FILE", "DIR", "HOME", "CACHE", "IFACE"),
    )
)
SET = "set"
LETTERS = 12  # of a hash


def portrayed(environ: Mapping[str, str], key: bytes | None) -> dict[str, str]:
    """Return what is reported of each variable that matters; of secrets a hash with ``key``, the run's secret."""
    names = sorted(name for name in environ if name in ALONE or name.startswith(FAMILIES))
    return {name: _value(name, environ[name], key) for name in names}


def _value(name: str, value: str, key: bytes | None) -> str:
    if is_secret(name) or masked(value) != value:
        if not key:  # whoever listens could try what it might be
            return f"{SET} (secret)"
        whole = f"variable {name}={value}".encode(errors="replace")
        return f"secret with hash {hmac.new(key, whole, hashlib.sha256).hexdigest()[:LETTERS]}"
    return SET if name.rpartition("_")[2] in OWN else value or "empty"
