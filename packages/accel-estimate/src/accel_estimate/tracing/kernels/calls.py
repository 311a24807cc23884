"""What transformers calls of the kernels, and the stand-ins in their places."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from unittest import mock

from accel_estimate.tracing.kernels.convolution import causal_conv1d_fn
from accel_estimate.tracing.kernels.mixer import mamba_inner_fn
from accel_estimate.tracing.kernels.scan import selective_scan_fn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

_SCAN = "mamba_selective_scan"
_CALLED = {
    _SCAN: selective_scan_fn,
    "mamba_inner_fn": mamba_inner_fn,
    "causal_conv1d_fn": causal_conv1d_fn,
}
"""What the modules of Mamba, Falcon-Mamba and Jamba call them in transformers 5.23."""


@contextmanager
def of_the_device(model: Any) -> Generator[None]:
    """Have a model of transformers call the stand-ins inside, if it scans a state space as Mamba does."""
    modules = [sys.modules[name] for name in {type(part).__module__ for part in model.modules()}]
    with ExitStack() as stack:
        for module in modules:
            for name, stand_in in _CALLED.items() if hasattr(module, _SCAN) else ():
                if hasattr(module, name):
                    stack.enter_context(mock.patch.object(module, name, stand_in))
        yield
