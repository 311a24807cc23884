"""Questions on a terminal: arrow keys, defaults shown, answers checked as they are given."""

from __future__ import annotations

from .errors import AccelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class Terminal:
    """Asks a person, with questionary."""

    def __init__(self) -> None:
        """Find questionary.

        Raises:
            AccelError: it isn't installed.
        """
        try:
            import questionary
        except ModuleNotFoundError:
            way_out = "pip install 'accel-config[wizard]', or give --yes to take what is proposed"
            raise AccelError(f"asking questions needs questionary: {way_out}") from None
        self._prompts: Any = questionary

    def choose(self, question: str, options: Sequence[str], default: int) -> int:
        """Offer a list."""
        choices = [self._prompts.Choice(option, value=place) for place, option in enumerate(options)]
        return self._prompts.select(question, choices=choices, default=choices[default]).unsafe_ask()

    def several(self, question: str, options: Sequence[str], default: Sequence[int]) -> list[int]:
        """Offer a list to mark in."""
        choices = [
            self._prompts.Choice(option, value=place, checked=place in default)
            for place, option in enumerate(options)
        ]
        return self._prompts.checkbox(question, choices=choices).unsafe_ask()

    def confirm(self, question: str, default: bool) -> bool:
        """Ask for yes or no."""
        return self._prompts.confirm(question, default=default).unsafe_ask()

    def text(self, question: str, default: str, check: Callable[[str], str], *, hidden: bool) -> str:
        """Ask for a text, with the default to edit; a secret shows as stars."""

        def validate(text: str) -> str | bool:
            return check(text) or True

        prompt = self._prompts.password if hidden else self._prompts.text
        return prompt(question, default=default, validate=validate).unsafe_ask()

    def say(self, text: str) -> None:
        """Print."""
        self._prompts.print(text, style="fg:ansired")
