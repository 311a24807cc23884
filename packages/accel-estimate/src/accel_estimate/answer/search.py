"""The fewest and cheapest changes that together fit."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from accel_config.record import Record
from accel_estimate.answer.changes import combinations, ordered
from accel_estimate.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from accel_estimate.answer.changes import Axis, Change, Choice
    from accel_estimate.answer.reach import Reach

S = TypeVar("S", bound=Record)
_IMPOSSIBLE = float("inf")


class Answer(Record):
    """Changes that make something fit, as flags to add to the command.

    `changes` are their names, `cost` what they cost together, `needed` the bytes of a device with them, of `limit`.
    If nothing fits, they are those that need least. `settings` is the recipe or the server with the changes, `reach`
    how far they go, and `host` about how many bytes of a machine's own memory they need. `barely`: they leave less of
    the device free than wanted.
    """

    flags: str
    changes: tuple[str, ...]
    cost: int
    needed: float
    limit: int
    settings: Any = None
    reach: Reach | None = None
    host: float = 0.0
    barely: bool = False

    @property
    def fits(self) -> bool:
        """Whether the device has enough memory with the changes."""
        return self.needed <= self.limit


class Space(Record):
    """What a search may change: `states` first, each with all choices of `inner`."""

    states: Sequence[Axis]
    inner: Sequence[Axis] = ()


def search(
    asked: S, space: Space, need: Callable[[S], float], limit: int, floor: Callable[[S], float] | None = None
) -> Answer | None:
    """Return the cheapest changes with which `asked` needs at most `limit` bytes; if none do, those that need least.

    So no part of them fits, nor as many cheaper ones. None: there is nothing to change. `floor` returns what settings
    need at least, whatever is changed of `inner`: where that is too much, nothing else of them is tried.
    """
    needed = _Needed(asked, need)
    least = _Needed(asked, floor) if floor else needed
    inner = combinations(space.inner)
    floors = [(least(states), states) for states in combinations(space.states)]
    possible = ((*more, *states) for bound, states in floors if bound <= limit for more in inner)
    best = next((it for it in ordered(possible) if it and needed(it) <= limit), None)
    best = best or _smallest(floors, inner, needed)
    return _answer(asked, best, needed(best), limit) if best is not None else None


def _smallest(floors: Sequence[tuple[float, Choice]], inner: Sequence[Choice], needed: _Needed[S]) -> Choice | None:
    """Return the changes that need least; None: none is possible."""
    best: Choice | None = None
    smallest = _IMPOSSIBLE
    for bound, states in sorted(floors, key=lambda pair: pair[0]):
        if bound >= smallest:
            break
        for chosen in ((*more, *states) for more in inner):
            if chosen and needed(chosen) < smallest:
                best, smallest = chosen, needed(chosen)
    return best


class _Needed(Generic[S]):
    """What choices need, each worked out once."""

    def __init__(self, asked: S, need: Callable[[S], float]) -> None:
        self._asked, self._need = asked, need
        self._seen: dict[Choice, float] = {}

    def __call__(self, chosen: Choice) -> float:
        if chosen not in self._seen:
            try:
                self._seen[chosen] = self._need(changed(self._asked, chosen))
            except UsageError:
                self._seen[chosen] = _IMPOSSIBLE
        return self._seen[chosen]


def _answer(asked: Record, chosen: Choice, needed: float, limit: int) -> Answer:
    names = tuple(change.name for change in chosen)
    return Answer(flags(chosen), names, sum(it.cost for it in chosen), needed, limit, changed(asked, chosen))


def changed(asked: S, chosen: Sequence[Change]) -> S:
    """Return the settings with the changes."""
    return asked.replace(**{name: value for change in chosen for name, value in change.fields})


def flags(chosen: Sequence[Change]) -> str:
    """Return the flags that make the changes."""
    return " ".join(f"--{spelled(name)} {value}" for change in chosen for name, value in change.fields)


def spelled(name: str) -> str:
    """Return the flag of a setting, without its hyphens."""
    return "dtypes" if name == "dtype" else name
