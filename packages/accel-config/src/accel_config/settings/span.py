"""A whole number that can be a range, ``MIN:MAX``: the number of machines of an elastic run."""

from __future__ import annotations


class Span(int):
    """The greatest number of the range, as an int; `least` is the smallest."""

    least: int

    @classmethod
    def of(cls, least: int, most: int) -> Span:
        """Return the range.

        Raises:
            ValueError: ``least`` is greater than ``most``.
        """
        if least > most:
            raise ValueError(f"{least}:{most}")
        found = cls(most)
        found.least = least
        return found

    @property
    def elastic(self) -> bool:
        """Whether the two numbers differ."""
        return self.least < self

    @property
    def plain(self) -> int | str:
        """The value as a file holds it."""
        return str(self) if self.elastic else int(self)

    def __str__(self) -> str:
        """Return ``MIN:MAX``, or the number alone."""
        return f"{self.least}:{int(self)}" if self.elastic else format(int(self), "d")

    __repr__ = __str__

    def __reduce__(self) -> tuple[object, ...]:
        """Survive a pickle."""
        return Span.of, (self.least, int(self))
