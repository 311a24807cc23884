"""The limits of a job, in the forms that schedulers accept. A wrong one is refused before the job is submitted."""

from __future__ import annotations

from accel_config.catalogue import Scheduler
from accel_config.errors import AccelError
from accel_config.record import Record
from accel_config.settings.readers import natural
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings

UNITS = (3600, 60, 1)
DAY = 86400
ENDLESS = ("unlimited", "infinite")


class Sizes(Record):
    """How a scheduler writes an amount of memory."""

    units: tuple[str, ...]
    fractions: bool
    """Whether ``1.5G`` and ``1e9`` are valid too."""
    example: str


SLURM = Sizes((*"KMGT", *"kmgt"), fractions=False, example="64G or 900M")
KUBERNETES = Sizes(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei", *"kMGTPE"), fractions=True, example="64Gi or 900Mi")


def seconds(settings: Settings) -> int | None:
    """Return ``job_time`` in seconds. It has Slurm's forms: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S.

    Raises:
        AccelError: it isn't a valid time.
    """
    asked = settings[Scheduler].job_time
    if asked is None:
        return None
    days, hyphen, rest = asked.rpartition("-")
    parts = rest.split(":")
    numbers = [_whole(part) for part in parts]
    if None in numbers or len(parts) > len(UNITS) or (hyphen and _whole(days) is None):
        raise AccelError(f"{describe(settings, 'job_time')} isn't a valid time; write it like 2:30:00 or 1-12:00:00")
    first = 1 if not hyphen and len(parts) < len(UNITS) else 0  # without days, fewer than three begin with minutes
    return (_whole(days) or 0) * DAY + sum(
        (number or 0) * unit for number, unit in zip(numbers, UNITS[first:], strict=False)
    )


def time(settings: Settings) -> str | None:
    """Return ``job_time`` as sbatch accepts it.

    Raises:
        AccelError: it isn't a valid time.
    """
    asked = settings[Scheduler].job_time
    if asked is not None and asked.lower() not in ENDLESS:
        seconds(settings)
    return asked


def memory(settings: Settings, sizes: Sizes) -> str | None:
    """Return ``job_memory``.

    Raises:
        AccelError: it isn't a valid amount for this scheduler.
    """
    asked = settings[Scheduler].job_memory
    if not asked:
        return None
    unit = next((unit for unit in sizes.units if asked.endswith(unit)), "")
    if not _is_number(asked.removesuffix(unit), fractions=sizes.fractions):
        raise AccelError(
            f"{describe(settings, 'job_memory')} isn't a valid amount of memory here; write it like {sizes.example}"
        )
    return asked


def _is_number(text: str, *, fractions: bool) -> bool:
    if not fractions:
        return _whole(text) is not None
    base, mark, exponent = text.partition("e")
    whole, point, rest = base.partition(".")
    digits = (whole, *([rest] if point else []), *([exponent] if mark else []))
    return all(_whole(part) is not None for part in digits)


def _whole(text: str) -> int | None:
    return natural(text) if text == text.strip() else None
