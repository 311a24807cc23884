"""What a report must contain."""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.model.sizes import DTYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_estimate.serving.settings import Serving
    from accel_estimate.training.recipe import Recipe


class Tracing(Record):
    """Have torch itself run the training step, instead of formulas; the formulas answer where that fails."""

    revision: str = "main"
    """Branch, tag or commit on the Hub of the model's own code."""
    trust_remote_code: bool = False
    """Whether that code may run."""


class Ask(Record):
    """What a report must contain: rows of the table of sizes, a training run, serving, and a device to fit."""

    dtypes: Sequence[str] = DTYPES
    """The number formats of the table of sizes."""
    training: Recipe | None = None
    """The training run to estimate; None: none."""
    serving: Serving | None = None
    """The server to estimate; None: none."""
    device: str | None = None
    """A device to fit, by name or size, such as ``8xh100``, ``3090`` or ``24GiB``; None: none."""
    trace: Tracing | None = None
    """Have torch run the step of `training`; None: formulas."""
    answer: bool = True
    """Whether to search for changes that fit, if it doesn't fit the device."""
