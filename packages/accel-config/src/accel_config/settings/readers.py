"""How the text of a value is read: the types that settings have."""

from __future__ import annotations

from math import isfinite

from accel_config.settings.span import Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TRUE = frozenset(("true", "t", "yes", "y", "on", "1"))
FALSE = frozenset(("false", "f", "no", "n", "off", "0"))


MOST_DIGITS = 18
"""Of a number that anyone means; Python refuses to read one of more than 4,300."""


def natural(text: str) -> int | None:
    """Read ASCII digits; None where there is something else, or more digits than any number here has."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS else None


def boolean(text: str) -> bool:
    """Read a boolean word in any letter case.

    Raises:
        ValueError: ``text`` is no such word.
    """
    word = text.strip().lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise ValueError(text)


def integer(text: str) -> int:
    """Read a whole number, also as ``1e8``.

    Raises:
        ValueError: ``text`` is a fraction, not a number, or has more digits than any number here.
    """
    try:
        found = int(text)
    except ValueError:
        value = number(text)
        if not value.is_integer():
            raise ValueError(text) from None
        found = int(value)
    if abs(found) >= 10**MOST_DIGITS:
        raise ValueError(text)
    return found


def number(text: str) -> float:
    """Read a finite number.

    Raises:
        ValueError: ``text`` isn't one.
    """
    value = float(text)
    if not isfinite(value):
        raise ValueError(text)
    return value


MOST_CPUS = 1 << 16
"""Of a machine: a longer range is a mistake, and would fill the memory."""


def cpus(text: str) -> frozenset[int]:
    """Read numbers of CPUs as the kernel and `taskset` write them, ``0-3,8``.

    Raises:
        ValueError: ``text`` is no such list.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        low, high = natural(first), natural(last if dash else first)
        if low is None or high is None or not low <= high < MOST_CPUS:
            raise ValueError(text)
        found.update(range(low, high + 1))
    return frozenset(found)


def span(text: str) -> Span:
    """Read a whole number or a range of them, ``2:4``.

    Raises:
        ValueError: ``text`` is neither.
    """
    least, colon, most = text.partition(":")
    return Span.of(integer(least), integer(most if colon else least))


UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
"""Seconds of each unit, the greatest first, as they must follow each other."""


class Duration(float):
    """A time in seconds that can be written with units, ``1h30m``; it shows itself as it was written."""

    text: str

    @classmethod
    def read(cls, text: str) -> Duration:
        """Read a number of seconds, or numbers with units.

        Raises:
            ValueError: ``text`` is neither.
        """
        seconds = _seconds(text.strip().lower())
        if not isfinite(seconds):
            raise ValueError(text)
        found = cls(seconds)
        found.text = text.strip().lower()
        return found

    @property
    def plain(self) -> int | float | str:
        """The value as a file holds it."""
        if self.text[-1:] in UNITS:
            return self.text
        return int(self) if self.is_integer() else float(self)

    def __str__(self) -> str:
        """Return it as it was written."""
        return self.text

    def __reduce__(self) -> tuple[object, ...]:
        """Survive a pickle."""
        return Duration.read, (self.text,)


def _seconds(text: str) -> float:
    if text[-1:] not in UNITS:
        return float(text)
    total = 0.0
    for unit, seconds in UNITS.items():
        number, found, rest = text.partition(unit)
        if found:
            if not number.replace(".", "", 1).isdecimal():
                raise ValueError(text)
            total, text = total + float(number) * seconds, rest
    if text:
        raise ValueError(text)
    return total


READERS: dict[type, Callable[[str], Any]] = {
    bool: boolean,
    int: integer,
    Span: span,
    float: number,
    Duration: Duration.read,
    str: str,
}
WANTED = {
    bool: "true or false",
    int: "a whole number",
    Span: "a whole number or MIN:MAX",
    float: "a number",
    Duration: "seconds, or a time such as 10m or 1h30m",
    str: "text",
    dict: "a mapping",
}
"""How messages describe each type."""
