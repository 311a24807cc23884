"""Trace each named point on the CPU, and tell what the trace expects of a device.

trace_points.py NAME...
"""

import sys
import warnings
from typing import Any

from model import building, points
from telling import tell

from accel_estimate.tracing import result, step


def traced(point: points.Point) -> dict[str, Any]:
    """Return low, expected and high of each figure."""
    recipe = points.recipe(point)
    found = step.trace(building.Origin(point.model, points.MODELS[point.model]), recipe)
    done = result.estimate(found.tape, recipe, found.trained)
    device = (done.low, done.expected, done.high)
    return {"allocated": done.allocated, "reserved": done.reserved, "device": device}


warnings.simplefilter("ignore")
for name in sys.argv[1:]:
    try:
        tell(point=name, **traced(points.ALL[name]))
    except Exception as error:
        tell(point=name, why=f"{type(error).__name__}: {error}")
