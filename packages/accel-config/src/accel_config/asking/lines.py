"""Questions line by line, for answers from a pipe, and for a terminal that can't move its cursor."""

from __future__ import annotations

import sys

from accel_config.asking.asker import Back, left
from accel_config.errors import AccelError
from accel_config.settings.readers import natural
from accel_config.showing.console import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    T = TypeVar("T")

BACK = "<"
YES, NO = ("y", "yes", "true", "1"), ("n", "no", "false", "0")


class Lines:
    """Asks for a line of text; an empty one takes the proposed answer."""

    def __init__(self, without: str) -> None:
        """Ask; ``without`` is the message for when there is nobody to answer at all.

        Raises:
            AccelError: standard input is at its end already.
        """
        self.without = without
        self.person = sys.stdin.isatty()
        self._read = 0
        self._first = None if self.person or not _ready() else sys.stdin.readline()
        if self._first == "":
            raise AccelError(without)

    def greet(self) -> None:
        """Print what can be typed."""
        self.advise("Enter takes the answer in brackets; < goes back; Ctrl-C leaves, and nothing is written.")

    def choose(self, question: str, options: Sequence[str], default: int) -> int:
        """Ask for an option: its text, or its number from 0, as Hugging Face's `accelerate` counts."""
        numbered = not any(option.isdecimal() for option in options)
        listed = (f"  {place}) {option}\n" if numbered else f"  {option}\n" for place, option in enumerate(options))
        show(f"{question}\n" + "".join(listed))
        prompt = f"[{options[default]}]"
        return self._until(question, prompt, default, lambda text: _option(text, options, numbered=numbered))

    def several(self, question: str, options: Sequence[str], default: Sequence[int]) -> list[int]:
        """Ask for the numbers of the options, separated by commas; ``none`` for none."""
        show(f"{question}\n" + "".join(f"  {place}) {option}\n" for place, option in enumerate(options)))
        proposed = ",".join(map(str, default)) or "none"

        def read(text: str) -> list[int]:
            parts = [] if text.lower() == "none" else [part.strip() for part in text.split(",")]
            return [_option(part, options, numbered=True) for part in parts]

        return self._until(question, f"numbers, separated by commas, or none [{proposed}]", list(default), read)

    def confirm(self, question: str, default: bool) -> bool:
        """Ask for yes or no."""

        def read(text: str) -> bool:
            if text.lower() in (*YES, *NO):
                return text.lower() in YES
            raise ValueError("answer yes or no")

        return self._until(question, f"{question} [{'yes' if default else 'no'}]", default, read)

    def text(self, question: str, default: str, check: Callable[[str], str], *, hidden: bool) -> str:
        """Ask for a text."""

        def read(text: str) -> str:
            if reason := check(text):
                raise ValueError(reason)
            return text

        shown = f"{question} [{default}]" if default and not hidden else question
        return self._until(question, shown, None if check(default) else default, read, hidden=hidden)

    def _until(
        self, question: str, prompt: str, default: T | None, read: Callable[[str], T], *, hidden: bool = False
    ) -> T:
        """Ask until an answer can be read; ``question`` is what messages call it."""
        while True:
            text = self._line(question, f"{prompt} ", hidden=hidden).strip()
            if text == BACK:
                raise Back
            if not text and default is not None:
                return default
            try:
                return read(text)
            except ValueError as error:
                if not self.person:
                    said = "" if hidden else f" {text!r}"
                    raise AccelError(f"the answer{said} to {question!r}: {error}; nothing was written") from None
                self.report(str(error))

    def _line(self, question: str, prompt: str, *, hidden: bool) -> str:
        """Return the next line.

        Raises:
            AccelError: a person pressed Ctrl-D, or the answers from a pipe have come to their end.
        """
        if hidden and self.person:
            from getpass import getpass

            try:
                return getpass(prompt)
            except EOFError:
                raise left() from None
        show(prompt)
        sys.stdout.flush()
        line, self._first = sys.stdin.readline() if self._first is None else self._first, None
        if not self.person:
            show("\n")
        if line:
            self._read += 1
            return line
        if self.person:
            raise left()
        if not self._read:
            raise AccelError(self.without)
        raise AccelError(f"the answers end before this question: {question}; nothing was written")

    def report(self, text: str) -> None:
        """Print why an answer wasn't accepted."""
        show(f"{text}\n")

    def advise(self, text: str) -> None:
        """Print what helps to answer."""
        show(f"{text}\n")


def _ready() -> bool:
    """Return whether standard input has something to read, be it its end."""
    from select import select

    try:
        return bool(select([sys.stdin], [], [], 0)[0])
    except (OSError, ValueError):  # it isn't a file
        return False


def _option(text: str, options: Sequence[str], *, numbered: bool) -> int:
    """Return the place of an option.

    Raises:
        ValueError: it isn't one.
    """
    for place, option in enumerate(options):
        if text.lower() == option.lower():
            return place
    place = natural(text) if numbered else None
    if place is not None and place < len(options):
        return place
    wanted = f"a number from 0 to {len(options) - 1}" if numbered else ", ".join(options)
    raise ValueError(f"must be {wanted}")
