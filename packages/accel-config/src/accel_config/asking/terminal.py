"""Questions on a terminal: arrow keys, proposed answers, checks while the person types, a way back."""

from __future__ import annotations

import os
from textwrap import fill

from accel_config.asking.asker import Back, left
from accel_config.errors import AccelError
from accel_config.showing.console import width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

GRAY, RED = "fg:ansibrightblack", "fg:ansired"
KEYS = "Enter takes the answer shown; Esc or < goes back; Ctrl-C leaves, and nothing is written."


class Terminal:
    """Asks a person, with questionary."""

    def __init__(self) -> None:
        """Find questionary.

        Raises:
            AccelError: it isn't installed.
        """
        # It asks the terminal where the cursor is; one that doesn't answer would be told so between the questions.
        os.environ.setdefault("PROMPT_TOOLKIT_NO_CPR", "1")
        try:
            import questionary
        except ModuleNotFoundError:
            from accel_config.showing.installing import command

            way_out = f"run: {command('accel-config[wizard]')}, or take the proposed answers with --yes"
            raise AccelError(f"questions need the package questionary; {way_out}") from None
        self._prompts: Any = questionary

    def greet(self) -> None:
        """Print which keys there are."""
        self.advise(KEYS)

    def choose(self, question: str, options: Sequence[str], default: int) -> int:
        """Offer a list."""
        choices = [self._prompts.Choice(option, value=place) for place, option in enumerate(options)]
        return self._ask(self._prompts.select(question, choices=choices, default=choices[default]))

    def several(self, question: str, options: Sequence[str], default: Sequence[int]) -> list[int]:
        """Offer a list of which several can be marked."""
        choices = [
            self._prompts.Choice(option, value=place, checked=place in default)
            for place, option in enumerate(options)
        ]
        return self._ask(self._prompts.checkbox(question, choices=choices))

    def confirm(self, question: str, default: bool) -> bool:
        """Ask for yes or no."""
        return self._ask(self._prompts.confirm(question, default=default))

    def text(self, question: str, default: str, check: Callable[[str], str], *, hidden: bool) -> str:
        """Ask for a text; what is typed replaces the default, which Tab puts on the line to change it."""

        def validate(text: str) -> str | bool:
            return check(text or default) or True

        if hidden:
            return self._ask(self._prompts.password(question, validate=validate)) or default
        shown = f"[{default}]" if default else None
        return self._ask(self._prompts.text(question, instruction=shown, validate=validate), default) or default

    def _ask(self, prompt: Any, default: str = "") -> Any:
        """Ask, with the keys that go back.

        Raises:
            Back: the person pressed one of them.
            AccelError: the person left by Ctrl-D.
        """
        from prompt_toolkit.filters import Condition
        from prompt_toolkit.key_binding import KeyBindings, merge_key_bindings

        application, keys = prompt.application, KeyBindings()

        @Condition
        def empty() -> bool:
            return not application.current_buffer.text

        def back(event: Any) -> None:
            event.app.exit(exception=Back(), style="class:aborting")

        def edit(event: Any) -> None:
            event.current_buffer.insert_text(default)

        keys.add("escape", eager=True)(back)
        keys.add("<", filter=empty, eager=True)(back)
        if default:
            keys.add("tab", filter=empty, eager=True)(edit)
        application.key_bindings = merge_key_bindings([application.key_bindings or KeyBindings(), keys])
        application.ttimeoutlen = 0.1  # seconds after an Esc in which another key makes it an arrow key
        try:
            return prompt.unsafe_ask()
        except EOFError:  # Ctrl-D
            raise left() from None

    def report(self, text: str) -> None:
        """Print why an answer wasn't accepted."""
        self._prompts.print(text, style=RED)

    def advise(self, text: str) -> None:
        """Print what helps to answer."""
        columns = width(os.environ)
        self._prompts.print("\n".join(fill(line, columns) for line in text.split("\n")), style=GRAY)
