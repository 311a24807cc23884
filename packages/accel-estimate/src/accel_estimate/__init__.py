"""Memory of a model: to load, to train and to serve, from metadata alone.

    from accel_estimate import Ask, Recipe, estimate, load

    model = load("OWNER/NAME")                      # headers only; no weights are read
    report = estimate(model, Ask(training=Recipe(mixed_precision="bf16", num_processes=8, fsdp="full")))
    report.training.expected                        # bytes on each device
    report.to_json()

Errors are `EstimateError`; its `status` is the exit status of the command.
"""

from accel_estimate.errors import EstimateError
from accel_estimate.estimator import Ask, estimate, load
from accel_estimate.recipe import Recipe
from accel_estimate.report import Report
from accel_estimate.serving import Serving

__all__ = ["Ask", "EstimateError", "Recipe", "Report", "Serving", "estimate", "load"]
