"""How far a device goes: the longest context and the largest batch that fit, within what the model can do."""

from __future__ import annotations

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_estimate.model.blueprint import Blueprint

_FAR = 2**26
MOST = 2**16
"""The largest batch that is looked for: what keeps nothing for a sequence serves any number of them."""


class Reach(Record):
    """How far a device goes, in tokens and in sequences; each by itself, and 0 if not even one fits.

    `positions` is the longest sequence that the model was made for; 0: it has no such limit. `longest_context` is
    None where the length is the model's own (an image). `largest_batch` is at most `MOST`.
    """

    longest_context: int | None
    largest_batch: int
    positions: int = 0

    @property
    def is_models(self) -> bool:
        """Whether the context ends where the model's own limit is, not the memory."""
        return bool(self.positions) and self.longest_context == self.positions


def reach(by_length: Callable[[int], bool], by_batch: Callable[[int], bool], blueprint: Blueprint) -> Reach:
    """Return how far the two go, where each function says whether so many tokens or sequences fit."""
    length = None if blueprint.fixed else largest(by_length, blueprint.positions or _FAR)
    return Reach(length, largest(by_batch), blueprint.positions)


def largest(fits: Callable[[int], bool], most: int = MOST) -> int:
    """Return the largest number up to `most` that fits, by doubling and halving; the need only grows with it."""
    if not fits(1):
        return 0
    low, high = 1, 2
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
