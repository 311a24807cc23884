"""How a value is written into an environment variable: the forms that the libraries expect."""

from __future__ import annotations

from os.path import expanduser


def usual(value: object) -> str:
    """Write booleans as ``true`` and ``false``, lists with commas, and the rest as it is."""
    if isinstance(value, bool):
        return lower(value)
    return ",".join(str(item) for item in value) if isinstance(value, tuple) else str(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def lower(value: object) -> str:
    """Write ``true`` or ``cpu``."""
    return str(value).lower()


def upper(value: object) -> str:
    """Write ``INDUCTOR``."""
    return str(value).upper()


def path(value: object) -> str:
    """Write a path with ``~`` replaced by the home folder; libraries don't expand it."""
    return expanduser(str(value))


def digit(value: object) -> str:
    """Write a boolean as ``1`` or ``0``."""
    return str(int(bool(value)))
