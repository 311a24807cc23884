"""The script's arguments as typed pairs, for SageMaker's console; the script itself gets its words untouched."""

from __future__ import annotations

import json
import re

from accel_config import masking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST = 100
LONGEST = 2500
"""What the service takes: pairs, and characters of a value."""
RESERVED = "sagemaker_"
"""What the names that the container's toolkit keeps for itself begin with."""

# A leading zero, an underscore or a word such as `nan` makes it text: the number wouldn't print as it was typed.
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_FLAG = re.compile(r"-[^\d.]")


def pairs(arguments: Sequence[str], most: int = MOST) -> tuple[dict[str, object], list[str]]:
    """Return the arguments as name and typed value, and a note on each that the console won't show.

    A flag that stands alone is true, one with several words (or given several times) is a list, and a word that
    belongs to no flag is left out.
    """
    found: dict[str, list[object]] = {}
    notes: list[str] = []
    for name, words in _options(arguments):
        if name.startswith(RESERVED):
            notes.append(
                f"--{name} reaches the script but isn't shown as a hyperparameter: SageMaker keeps such names"
            )
            continue
        hidden = secret(name, words)
        if hidden:
            notes.append(
                f"--{name} by its name is a secret: it isn't shown as a hyperparameter, but whoever may read the "
                "bundle can read it there"
            )
        found.setdefault(name, []).extend([masking.MASK] if hidden else [_shown(word) for word in words])
    values: dict[str, object] = {name: many[0] if len(many) == 1 else many for name, many in found.items()}
    shown = {name: value for name, value in values.items() if len(json.dumps(value)) <= LONGEST}
    shown = dict(list(shown.items())[:most])
    left = [name for name in found if name not in shown]
    if left:
        notes.append(f"too many or too long to be shown as hyperparameters: {', '.join(left)}; the script gets them")
    return shown, notes


def _shown(word: str) -> object:
    """Return the value of a word, without what stands in it beside a secret's name (``auth.token=x``)."""
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
    """Return the values as the service wants them: every one JSON text."""
    return {name: json.dumps(value) for name, value in values.items()}


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each flag's name, with underscores, and the words that follow it; none is the same as ``True``."""
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
    """Whether the flag's value looks like something that no console should show."""
    return masking.secret(name) and not all(isinstance(typed(word), (bool, int, float)) for word in words)
