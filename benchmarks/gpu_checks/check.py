"""What a check is: a function with a name, a time limit and needs, which yields rows as it sees things."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.gpu_checks.bench import Bench

YES, NO, NOT_SEEN, BROKEN = "yes", "no", "not seen", "broken"
"""Whether a claim holds: it does; it doesn't; this machine can't tell, for a reason; the check itself failed."""


class NotSeenError(Exception):
    """This machine, or what is installed, can't show whether a claim holds; the text is the reason."""


@dataclass(frozen=True)
class Row:
    """A claim, what follows from it, and what was seen.

    A second run is compared with a first by the claim, so that no number of the machine may be in it. ``number`` is
    compared too, where there is one.
    """

    claim: str
    expected: str
    seen: str
    holds: str
    number: float | None = None
    unit: str = ""
    data: dict[str, Any] | None = None
    """What is measured here and belongs into a file of its own, such as a point of memory."""


def row(claim: str, expected: object, seen: object, holds: bool | None = None, **more: Any) -> Row:
    """Return a row; without ``holds`` it holds if what was seen is what was expected."""
    right = seen == expected if holds is None else holds
    return Row(claim, str(expected), str(seen), YES if right else NO, **more)


def not_seen(claim: str, why: str) -> Row:
    """Return the row of a claim that can't be seen here."""
    return Row(claim, "", why, NOT_SEEN)


@dataclass(frozen=True)
class Check:
    """One check. ``seconds`` is its limit; then everything that it started is killed."""

    name: str
    claim: str
    seconds: float
    needs: tuple[str, ...]
    rehearsed: bool
    """Whether it can be rehearsed: on torch's CPU, and on a stand-in of nvidia-smi if it needs a driver."""
    run: Callable[[Bench], Iterator[Row]]

    @property
    def area(self) -> str:
        """The module that it is in."""
        return self.name.partition(".")[0]


CHECKS: dict[str, Check] = {}

Running = Callable[["Bench"], Iterator[Row]]


def check(
    claim: str, *, seconds: float, needs: tuple[str, ...] = (), rehearsed: bool = True
) -> Callable[..., Running]:
    """Declare the decorated function as a check, called ``module.function``.

    ``needs`` are names of `needs.MISSING`; what is missing is the reason in the row of a check that is skipped.
    """

    def declare(run: Running) -> Running:
        name = f"{run.__module__.rpartition('.')[2]}.{run.__name__}"
        CHECKS[name] = Check(name, claim, seconds, needs, rehearsed, run)
        return run

    return declare


def chosen(only: list[str]) -> list[Check]:
    """Return the checks that are named, by area or by name; all of them without a name.

    Raises:
        ValueError: a name means no check.
    """
    for word in only:
        if not any(word in (one.area, one.name) for one in CHECKS.values()):
            areas = dict.fromkeys(one.area for one in CHECKS.values())
            raise ValueError(
                f"--only {word}: no check or area has that name; areas: {', '.join(areas)}; --list shows all"
            )
    return [one for one in CHECKS.values() if not only or one.area in only or one.name in only]
