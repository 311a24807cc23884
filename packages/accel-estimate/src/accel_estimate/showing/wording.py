"""The verdict and the answer as sentences."""

from __future__ import annotations

from accel_config.showing.wording import line
from accel_estimate.answer.reach import MOST
from accel_estimate.devices.units import spell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.answer.reach import Reach
    from accel_estimate.answer.search import Answer
    from accel_estimate.devices.limits import Fit


def verdict(fit: Fit) -> str:
    """Return whether it fits, in one line."""
    word, rest = ("fits", "to spare") if fit.fits else ("does not fit", "lacking")
    if fit.barely:
        word = "barely fits"
    return (
        f"{fit.subject}: {spell(fit.needed)} {word} {line(fit.device)} ({spell(fit.limit)}), "
        f"{spell(abs(fit.margin))} {rest}{_far(fit.reach, spare=fit.barely)}."
    )


def spelled(fit: Fit) -> str:
    """Return whether it fits, in one word."""
    return "barely" if fit.barely else "yes" if fit.fits else "no"


def answered(answer: Answer | None) -> str:
    """Return the answer in one line, with the flags to add."""
    if answer is None:
        return "No change that is known makes it smaller."
    return f"{beginning(answer)} {answer.flags}: {amounts(answer)}{'' if answer.fits else '.'}"


def beginning(answer: Answer) -> str:
    """Return what stands before the changes of an answer."""
    if not answer.fits:
        return "No changes make it fit; it needs least with"
    return "Barely fits with" if answer.barely else "Fits with"


def amounts(answer: Answer) -> str:
    """Return what the answer needs of what there is, how far it goes, and the machine's memory that it takes."""
    host = f"; about {spell(answer.host)} of the machine's own memory" if answer.host else ""
    return f"{spell(answer.needed)} of {spell(answer.limit)}{_far(answer.reach, spare=answer.barely)}{host}"


def _far(reach: Reach | None, *, spare: bool) -> str:
    if reach is None:
        return ""
    with_some = "with a twentieth to spare, " if spare else ""
    end = ", all that the model can" if reach.is_models else ""
    length = "" if reach.longest_context is None else f", longest context {reach.longest_context:,} tokens{end}"
    return f"; {with_some}largest batch {batch(reach)}{length}"


def batch(reach: Reach) -> str:
    """Return the largest batch; the search ends somewhere."""
    return f"{reach.largest_batch:,}{' or more' if reach.largest_batch == MOST else ''}"
