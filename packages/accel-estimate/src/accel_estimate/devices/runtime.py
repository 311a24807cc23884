"""What the runtime takes of a device besides tensors: low, expected and high bytes."""

from __future__ import annotations

from accel_estimate.devices import cards
from accel_estimate.devices.units import GIB, MIB

Range = tuple[float, float, float]
"""Low, expected and high."""


def published(low: float, high: float) -> Range:
    """Return low, expected and high of a published range; its middle is expected."""
    return low, (low + high) / 2, high


def context(card: str) -> Range:
    """Return what the CUDA context takes on a card; of any card, if none is named."""
    known = cards.named(card) if card else None
    return SMALL if known is not None and known.small else CONTEXT


CONTEXT = published(0.3 * GIB, 1.3 * GIB)
"""CUDA context and kernels, in bytes: 0.3 GiB is the least seen on A100 and H100, and the transformers documentation
measured 1343 MiB on a V100 (docs/source/en/model_memory_anatomy.md)."""

SMALL = published(0.1 * GIB, 0.4 * GIB)
"""The same on cards that run about as many threads at once as an RTX 3090, or fewer: a context has local memory for
each thread that can run (forums.developer.nvidia.com, Local memory management). An RTX 3090 had 256 MiB (InvokeAI's
issue 9413); "about 300" and "around 400 MB" are said of newer torch, which loads kernels as they are used (pytorch's
issues 107667 and 109888)."""

NCCL = published(0.2 * GIB, 2.0 * GIB)
"""NCCL's buffers, in bytes, by the number of communicators (4 MiB a channel and peer, NCCL_BUFFSIZE)."""

WORKSPACES = published(8.125 * MIB, 64 * MIB)
"""cuBLAS's workspaces, in bytes, which torch's allocator holds beside tensors: 8.125 MiB for each thread that
multiplies, 32 MiB on an H100 (CUBLAS_WORKSPACE_CONFIG), and the backward pass has a thread of its own."""
