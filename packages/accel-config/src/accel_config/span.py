"""A whole number that may be a range, ``MIN:MAX``: how many machines may take part."""

from __future__ import annotations


class Span(int):
    """The greatest number, which it is where one is wanted; `least` is the smallest."""

    least: int

    @classmethod
    def of(cls, least: int, most: int) -> Span:
        """Make one; raises ValueError where the first is the greater."""
        if least > most:
            raise ValueError(f"{least}:{most}")
        found = cls(most)
        found.least = least
        return found

    @property
    def elastic(self) -> bool:
        """Whether it is a range."""
        return self.least < self

    @property
    def plain(self) -> int | str:
        """It as a file holds it."""
        return str(self) if self.elastic else int(self)

    def __str__(self) -> str:
        """Return it as it is written."""
        return f"{self.least}:{int(self)}" if self.elastic else format(int(self), "d")

    __repr__ = __str__

    def __reduce__(self) -> tuple[object, ...]:
        """Survive a pickle."""
        return Span.of, (self.least, int(self))
