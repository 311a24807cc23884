"""How much memory the devices have that a user names, and whether an estimate fits them."""

from __future__ import annotations

import re

from accel_config.record import Record
from accel_estimate.devices import cards, units
from accel_estimate.devices.units import GIB
from accel_estimate.errors import LARGEST, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.answer.reach import Reach
    from accel_estimate.answer.search import Answer
    from accel_estimate.training.recipe import Recipe

SPARE = 1 / 20
"""The part of a device that an answer leaves free: half of the published training figures differ from *expected* by
more than half of it, and a run may need more than was measured."""


def room(limit: float) -> int:
    """Return the bytes that an answer may have a training run use on a device of `limit` bytes."""
    return round(limit * (1 - SPARE))


def fits_barely(needed: float, limit: float) -> bool:
    """Return whether a training run fits, and leaves less free than an answer would."""
    return room(limit) < needed <= limit


class Devices(Record):
    """Devices of one kind, as a user named them."""

    text: str
    """What the user typed: ``8xh100``."""
    limit: int
    """Bytes that a program finds on one of them."""
    count: int = 1
    """How many there are on all machines; 1 also if the user named none."""
    per_machine: int = 1
    """How many there are on one machine."""
    notes: tuple[str, ...] = ()
    """How the name was read, where it can be read in two ways."""
    bf16: bool = True
    """Whether they compute in bfloat16; True where only an amount is known."""
    fp8: bool = True
    """Whether they compute in fp8; True where only an amount is known."""
    card: str = ""
    """The kind of device; empty where only an amount is known."""

    def without(self, recipe: Recipe) -> tuple[str, ...]:
        """Return a note on the type of a run's computation if these devices don't compute in it."""
        kind = recipe.mixed_precision
        if kind == "no" and recipe.param_dtype == "bfloat16":
            kind = "bf16"
        if (kind == "bf16" and not self.bf16) or (kind == "fp8" and not self.fp8):
            other = "bf16" if self.bf16 else "fp16"
            return (f"{self.text} doesn't compute in {kind}; use --mixed_precision {other} there.",)
        return ()

    @property
    def name(self) -> str:
        """One of them: ``h100``."""
        return re.sub(r"^\s*([0-9]+\s*[x*\u00d7]\s*){0,2}", "", self.text, flags=re.IGNORECASE)


class Fit(Record):
    """Whether `needed` bytes of `subject` (such as "training") fit `device` of `limit` bytes.

    `reach`: how far it goes, if it fits. `answer`: what to change, if it doesn't.
    """

    device: str
    limit: int
    needed: float
    subject: str
    reach: Reach | None = None
    answer: Answer | None = None

    @property
    def margin(self) -> float:
        """Bytes left over; negative if it doesn't fit."""
        return self.limit - self.needed

    @property
    def fits(self) -> bool:
        """Whether the device has enough memory."""
        return self.margin >= 0

    @property
    def barely(self) -> bool:
        """Whether it is a training run that leaves less of the device free than an answer would."""
        return self.subject == "training" and fits_barely(self.needed, self.limit)


_TIMES = re.compile(r"\s*([0-9]{1,6})\s*[x*\u00d7]\s*(.+)", re.IGNORECASE | re.DOTALL)
_SOLD = re.compile(r"\s*([0-9]{1,3})\s*(g|gb)?\s*", re.IGNORECASE)
_MACHINES = 2


def read_devices(text: str) -> Devices:
    """Return the devices of "h100", "3090", "8xh100", "2x8xh100" (two machines), "24", "24G", "80GB" or "24GiB".

    A number of G or GB with which cards are sold means such a card, and the least of what their drivers give counts.
    Other amounts are exact.

    Raises:
        UsageError: the text is neither an amount nor a known device, or the number of devices isn't possible.

    """
    numbers: list[int] = []
    rest = text
    while len(numbers) < _MACHINES and (match := _TIMES.fullmatch(rest)):
        numbers.append(int(match[1]))
        rest = match[2]
    if 0 in numbers:
        raise UsageError(f"--fits {text}: the number of devices must be at least 1")
    card = cards.named(rest)
    limit, notes = (round(card.given * GIB), ()) if card else _amount(rest, text)
    if not 0 < limit <= LARGEST:
        raise UsageError(f"--fits {text}: a device must have at least one byte, and at most {LARGEST:,}")
    each = numbers[-1] if numbers else 1
    return Devices(
        text,
        limit,
        each * numbers[0] if len(numbers) == _MACHINES else each,
        each,
        notes,
        card is None or card.bf16,
        card is None or card.fp8,
        card.name if card else "",
    )


def limit(text: str) -> int:
    """Return the bytes of one device; see `read_devices`.

    Raises:
        UsageError: see `read_devices`.

    """
    return read_devices(text).limit


def _amount(name: str, typed: str) -> tuple[int, tuple[str, ...]]:
    """Return the bytes of one device, and how its name was read."""
    size = _SOLD.fullmatch(name)
    if size is not None:
        return _sold(int(size[1]), name.strip())
    try:
        return units.parse(name), ()
    except UsageError:
        raise UsageError(
            f"--fits {typed}: neither an amount such as 24GiB or 80GB nor a known device "
            f"({', '.join(card.name for card in cards.CARDS)})"
        ) from None


def _sold(size: int, name: str) -> tuple[int, tuple[str, ...]]:
    """Return the bytes of a card that is sold with `size` GB; if there is none, that amount."""
    found = cards.sold_as(size)
    exact = size * 10**9
    if not found:
        return exact, (() if name.lower().endswith("gb") else (f"{name} is read as {size}GB, {units.spell(exact)}.",))
    least, most = found[0], found[-1]
    given = f"{least.given:.2f} GiB ({least.name})"
    if most.given > least.given:
        given += f" to {most.given:.2f} GiB ({most.name}); the least counts"
    note = (
        f"{name} is read as a card sold with {size} GB, of which drivers give {given}. "
        f"Name the card, or write an exact amount such as {exact / GIB:.2f}GiB."
    )
    return round(least.given * GIB), (note,)


def check_number_of(processes: int, where: Devices, said: str = "--num_processes") -> None:
    """Check that there is a device for each process; `said` is where their number is set.

    Raises:
        UsageError: there are too few.

    """
    if processes > where.count > 1:
        raise UsageError(f"{said} {processes}: more than the {where.count} devices of --fits {where.text}")


def check_machines(processes: int, where: Devices) -> None:
    """Check that `--processes_per_machine` is what the devices say, if they say it ("2x4xh100").

    Raises:
        UsageError: it isn't.

    """
    if where.count > where.per_machine != processes:
        raise UsageError(
            f"--processes_per_machine {processes}: --fits {where.text} has {where.per_machine} a machine"
        )


def spread(recipe: Recipe, device: str | None) -> Recipe:
    """Return the recipe on all devices that are named, such as 8 of "8xh100", if it is for one."""
    where = read_devices(device) if device else None
    if where is None or where.count == 1 or recipe.num_processes > 1:
        return recipe
    return recipe.replace(num_processes=where.count, processes_per_machine=where.per_machine)
