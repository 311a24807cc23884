"""How far a device goes: the longest context and the largest batch that fit."""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.serving.server import estimate_serving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from accel_estimate.model.blueprint import Blueprint
    from accel_estimate.model.weights import Weight
    from accel_estimate.serving.settings import Serving

_FAR = 2**26


class Reach(Record):
    """How far serving goes on a device, in tokens and in sequences."""

    longest_context: int
    largest_batch: int


def reach(weights: Sequence[Weight], blueprint: Blueprint, how: Serving, limit: float) -> Reach:
    """Return the longest context and the largest batch, each by itself, that are expected to fit in `limit` bytes.

    A number is 0 if not even one token, or one sequence, fits. The context isn't bounded by what the model was
    trained for; see `Blueprint.positions`.

    Raises:
        UsageError: a setting isn't possible.

    """

    def fits(**changes: int) -> bool:
        return estimate_serving(weights, blueprint, how.replace(**changes)).expected <= limit

    return Reach(_largest(lambda n: fits(context_len=n)), _largest(lambda n: fits(batch_size=n)))


def _largest(fits: Callable[[int], bool]) -> int:
    """Return the largest number that fits, found by doubling and halving; the need only grows with the number."""
    if not fits(1):
        return 0
    high = 2
    while high < _FAR and fits(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
