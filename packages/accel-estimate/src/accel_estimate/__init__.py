"""Memory of a model: to load, to train and to serve, from metadata alone.

    from accel_estimate import Ask, Recipe, estimate, load

    model = load("OWNER/NAME")                      # headers only; no weights are read
    report = estimate(model, Ask(training=Recipe(mixed_precision="bf16", num_processes=8, fsdp="full")))
    report.training.expected                        # bytes on each device
    report.to_json()

    for it in strategies(model, "8xh100", Recipe(mixed_precision="bf16")):
        it.name, it.low, it.expected, it.high, it.fits, it.recipe

Errors are `EstimateError`; its `status` is the exit status of the command.
"""

from __future__ import annotations

from accel_estimate.answer.strategies import Strategy, strategies
from accel_estimate.devices.limits import Devices, read_devices
from accel_estimate.errors import EstimateError
from accel_estimate.estimation.ask import Ask, Tracing
from accel_estimate.estimation.estimator import estimate
from accel_estimate.estimation.loading import load
from accel_estimate.estimation.memory_report import Report
from accel_estimate.serving.settings import Serving
from accel_estimate.training.recipe import Recipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    __version__: str

__all__ = [
    "Ask",
    "Devices",
    "EstimateError",
    "Recipe",
    "Report",
    "Serving",
    "Strategy",
    "Tracing",
    "estimate",
    "load",
    "read_devices",
    "strategies",
]


def __getattr__(name: str) -> str:
    """Look up the version on its first use: importlib.metadata takes longer than the rest."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from accel_config.showing.installing import version

    return version("accel-estimate")
