"""Who answers the questions: a person at a terminal, or nobody, where every proposal is taken."""

from __future__ import annotations

from accel_config.errors import INTERRUPTED, AccelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    class Asker(Protocol):
        """Puts a question in one of four forms."""

        def choose(self, question: str, options: Sequence[str], default: int, /) -> int:
            """Return the place of the option chosen."""
            ...

        def several(self, question: str, options: Sequence[str], default: Sequence[int], /) -> list[int]:
            """Return the places of the options chosen; there may be none."""
            ...

        def confirm(self, question: str, default: bool, /) -> bool:
            """Return whether the answer is yes."""
            ...

        def text(self, question: str, default: str, check: Callable[[str], str], /, *, hidden: bool) -> str:
            """Return a text that ``check`` accepts, for which it returns an empty reason."""
            ...

        def report(self, text: str, /) -> None:
            """Print why an answer wasn't accepted."""
            ...

        def advise(self, text: str, /) -> None:
            """Print what helps to answer the next question."""
            ...

    class Person(Asker, Protocol):
        """An asker that a person answers."""

        def greet(self) -> None:
            """Print which keys there are."""
            ...


class Back(Exception):
    """Instead of an answer: the person wants to go back to the question before."""


def left() -> AccelError:
    """Return the error for a person who leaves, by Ctrl-C or Ctrl-D."""
    return AccelError("interrupted; nothing was written", status=INTERRUPTED)


class Proposals:
    """Takes the answer that is proposed to every question."""

    def choose(self, _question: str, _options: Sequence[str], default: int) -> int:
        """Take the default."""
        return default

    def several(self, _question: str, _options: Sequence[str], default: Sequence[int]) -> list[int]:
        """Take the default."""
        return list(default)

    def confirm(self, _question: str, default: bool) -> bool:
        """Take the default."""
        return default

    def text(self, question: str, default: str, check: Callable[[str], str], *, hidden: bool) -> str:  # noqa: ARG002
        """Take the default.

        Raises:
            AccelError: ``check`` refuses it.
        """
        if reason := check(default):
            raise AccelError(f"{question} {reason}")
        return default

    def report(self, text: str) -> None:
        """Stop: a proposal wasn't accepted.

        Raises:
            AccelError: always.
        """
        raise AccelError(text)

    def advise(self, text: str) -> None:
        """Print nothing: nobody reads it."""
