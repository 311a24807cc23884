"""The script's arguments as typed pairs for SageMaker's console; the script itself receives its words unchanged."""

from __future__ import annotations

import json
import re

from accel_config.showing import masking, secrets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST = 100
LONGEST = 2500
"""The service's limits: pairs, and characters of a value."""
RESERVED = "sagemaker_"
"""The beginning of the names that are reserved for the container's toolkit."""

# A text with a leading zero or an underscore, or a word such as `nan`, stays text: as a number it would change.
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_FLAG = re.compile(r"-[^\d.]")


def pairs(arguments: Sequence[str], most: int = MOST) -> tuple[dict[str, object], list[str]]:
    """Return the arguments as names with typed values, and a note for each that the console won't show.

    A flag without a value is true. A flag with several words, or used several times, is a list. A word without a flag
    is omitted.
    """
    found: dict[str, list[object]] = {}
    notes: list[str] = []
    for name, words in _options(arguments):
        if name.startswith(RESERVED):
            notes.append(
                f"--{name} reaches the script but isn't shown as a hyperparameter, because the name is reserved"
            )
            continue
        hidden = secret(name, words)
        if hidden:
            notes.append(
                f"--{name} looks like a secret, so it isn't shown as a hyperparameter; everyone with access to the "
                "bundle can read it there"
            )
        found.setdefault(name, []).extend([secrets.MASK] if hidden else [_shown(word) for word in words])
    values: dict[str, object] = {name: many[0] if len(many) == 1 else many for name, many in found.items()}
    shown = {name: value for name, value in values.items() if len(json.dumps(value)) <= LONGEST}
    shown = dict(list(shown.items())[:most])
    left = [name for name in found if name not in shown]
    if left:
        notes.append(
            f"too many or too long to be shown as hyperparameters: {', '.join(left)}; the script still receives them"
        )
    return shown, notes


def _shown(word: str) -> object:
    """Return the value of a word, with a secret in it (``auth.token=x``) masked."""
    return typed(str(masking.masked(word)))


def typed(text: str) -> object:
    """Return the text's value: a boolean, a whole number (``3.0`` too), another number, or the text."""
    if text in ("True", "False"):
        return text == "True"
    if not _NUMBER.fullmatch(text):
        return text
    number = float(text)
    if number == float("inf") or number == float("-inf"):
        return text
    return int(text) if text.lstrip("-").isdecimal() else int(number) if number.is_integer() else number


def spelled(values: dict[str, object]) -> dict[str, str]:
    """Return the values as the service needs them, each as JSON."""
    return {name: json.dumps(value) for name, value in values.items()}


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each flag's name, with underscores, and the words that follow it, or ``True`` if none does."""
    name, words = "", list[str]()
    for word in [*arguments, "--"]:
        if not _FLAG.match(word):
            words.append(word)
            continue
        if name:
            yield name, words or ["True"]
        name, equals, text = word.lstrip("-").partition("=")
        name, words = name.replace("-", "_"), [text] if equals else []


def secret(name: str, words: list[str]) -> bool:
    """Whether the flag looks like a secret, which the console must not show."""
    return secrets.secret(name) and not all(isinstance(typed(word), (bool, int, float)) for word in words)
