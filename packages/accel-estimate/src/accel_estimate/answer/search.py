"""The fewest and cheapest changes that together fit."""

from __future__ import annotations

from typing import Any, TypeVar

from accel_config.record import Record
from accel_estimate.answer.changes import combinations
from accel_estimate.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from accel_estimate.answer.changes import Axis, Change
    from accel_estimate.answer.reach import Reach

S = TypeVar("S", bound=Record)


class Answer(Record):
    """Changes that make something fit, as flags to add to the command.

    `changes` are their names, `cost` what they cost together, `needed` the bytes of a device with them, of `limit`.
    If nothing fits, they are those that need least. `settings` is the recipe or the server with the changes, `reach`
    how far they go, and `host` about how many bytes of a machine's own memory they need.
    """

    flags: str
    changes: tuple[str, ...]
    cost: int
    needed: float
    limit: int
    settings: Any = None
    reach: Reach | None = None
    host: float = 0.0

    @property
    def fits(self) -> bool:
        """Whether the device has enough memory with the changes."""
        return self.needed <= self.limit


def search(
    asked: S,
    axes: Sequence[Axis],
    need: Callable[[S], float],
    limit: int,
    least: Callable[[S], S] = lambda settings: settings,
) -> Answer | None:
    """Return the cheapest changes with which `asked` needs at most `limit` bytes; if none do, those that need least.

    So no part of them fits, nor as many cheaper ones. None: there is nothing to change. `least` maps settings to
    others of the same search that never need more; whatever doesn't fit so is skipped.
    """
    seen: dict[S, float] = {}

    def needed(settings: S) -> float:
        if settings not in seen:
            try:
                seen[settings] = need(settings)
            except UsageError:  # an impossible combination
                seen[settings] = float("inf")
        return seen[settings]

    best: tuple[float, tuple[Change, ...], S] | None = None
    for chosen in combinations(axes):
        settings = changed(asked, chosen)
        bound = needed(least(settings))
        if bound > limit and best is not None and bound >= best[0]:
            continue
        here = needed(settings)
        if chosen and (best is None or here < best[0]):
            best = here, chosen, settings
        if here <= limit:
            break
    if best is None or best[0] == float("inf"):
        return None
    here, chosen, settings = best
    return Answer(
        flags(chosen), tuple(it.name for it in chosen), sum(it.cost for it in chosen), here, limit, settings
    )


def changed(asked: S, chosen: Sequence[Change]) -> S:
    """Return the settings with the changes."""
    return asked.replace(**{name: value for change in chosen for name, value in change.fields})


def flags(chosen: Sequence[Change]) -> str:
    """Return the flags that make the changes."""
    return " ".join(f"--{spelled(name)} {value}" for change in chosen for name, value in change.fields)


def spelled(name: str) -> str:
    """Return the flag of a setting, without its hyphens."""
    return "dtypes" if name == "dtype" else name
