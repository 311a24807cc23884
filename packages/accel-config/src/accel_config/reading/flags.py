"""The command line, divided into the launcher's flags and the script with its arguments."""

from __future__ import annotations

import os

from accel_config.errors import SettingError, nearest
from accel_config.record import Record
from accel_config.settings.origin import FLAG, Origin, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_config.settings.declaration import Setting
    from accel_config.settings.index import Catalogue

HELP = ("-h", "--help")
BOOLEAN_WORDS = frozenset(["true", "false", "t", "f", "yes", "no", "y", "n", "on", "off", "1", "0"])


class Typed(Record):
    """What a command line holds: settings by name, then the script with its own arguments."""

    values: dict[str, Value]
    """The settings that were typed, by name."""
    script: tuple[str, ...]
    """The script with its arguments; empty where none was typed."""
    help: bool
    """Whether help was asked for."""
    notes: tuple[str, ...]
    """Notes on flags without effect, and on flags that have another name now."""
    flags: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Each flag as it was typed: the name of its setting, and its words."""
    topic: str = ""
    """What help is wanted on: the words after ``--help``; empty for an overview."""


def split(catalogue: Catalogue, argv: Sequence[str]) -> Typed:
    """Read the flags before the script; everything from the script on belongs to the script, byte for byte.

    Raises:
        SettingError: a flag is unknown, or its value is missing or isn't valid.
    """
    words = list(argv)
    values: dict[str, Value] = {}
    notes: list[str] = []
    flags: list[tuple[str, tuple[str, ...]]] = []
    place = 0
    while place < len(words):
        start, word = place, words[place]
        place += 1
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            place -= 1
            break
        if word in HELP or word.startswith("--help="):
            return Typed(values, (), True, tuple(notes), tuple(flags), _topic(words[start:]))
        one, flag, text = _flag(catalogue, word)
        if text is None:
            text = _argument(catalogue, one, flag, words[place] if place < len(words) else None)
            place += text is not None
        _set(values, one, flag, text)
        notes += _notes(one, flag)
        flags.append((one.name, tuple(words[start:place])))
    script = tuple(words[place:])
    # Whoever writes ``--`` before the script means what stands after it.
    after = [] if words[place - 1 : place] == ["--"] else _after(catalogue, script)
    return Typed(values, script, False, (*notes, *after), tuple(flags))


def _topic(words: list[str]) -> str:
    """Return the words after ``--help``, up to the next flag or script."""
    _flag, _equals, first = words[0].partition("=")
    found = [first] if first else []
    for word in words[1:]:
        if word.startswith("-") or word.endswith(".py"):  # a whole command line, with a script
            break
        found.append(word)
    return " ".join(found)


def _after(catalogue: Catalogue, script: tuple[str, ...]) -> list[str]:
    """Return a note on the launcher's flags among the arguments of the script, which may be a mistake."""
    arguments = script[1:]
    if "--" in arguments:
        arguments = arguments[: arguments.index("--")]
    flags = dict.fromkeys(word for word in arguments if word.startswith("--") and word in catalogue.by_flag)
    if not flags:
        return []
    stand, them = ("stands", "it") if len(flags) == 1 else ("stand", "them")
    where = f"{', '.join(flags)} {stand} after the script, so the script receives {them}"
    return [f"{where}. To set the launcher, write {them} before {script[0]}"]


def _flag(catalogue: Catalogue, word: str) -> tuple[Setting, str, str | None]:
    """Return the setting, its flag as typed, and the value in the same word, if any.

    Raises:
        SettingError: there is no such flag.
    """
    flag, equals, text = word.partition("=")
    if flag in catalogue.by_flag:
        return catalogue.by_flag[flag], flag, text if equals else None
    short = catalogue.by_flag.get(word[:2]) if not word.startswith("--") else None
    if short is not None and not short.switch:
        return short, word[:2], word[2:]
    raise SettingError(f"{flag} isn't a flag of launch{nearest(flag, [*catalogue.by_flag, '--help'])}")


def _argument(catalogue: Catalogue, one: Setting, flag: str, following: str | None) -> str | None:
    """Return the next word if it is the flag's value; None if the flag stands alone.

    Raises:
        SettingError: the flag needs a value, and there is none.
    """
    if flag in one.off_flags:
        return None
    if one.switch:  # a word of its own, as in `--explain all`; a file of that name is the script
        taken = following is not None and following in one.choices[1:] and not os.path.exists(following)
        return following if taken else None
    if one.kind is bool and not one.many:
        return following if following is not None and following.lower() in BOOLEAN_WORDS else None
    if following is None or following == "--" or following.partition("=")[0] in (*catalogue.by_flag, *HELP):
        raise SettingError(f"{flag} needs a value: {one.wanted}")
    return following


def _set(values: dict[str, Value], one: Setting, flag: str, text: str | None) -> None:
    origin = Origin(flag, FLAG)
    if flag in one.off_flags:
        if text is not None:
            raise SettingError(f"{flag} takes no value, got {text!r}")
        value: object = False
    else:
        value = one.parse("true" if text is None else text, origin)
    if one.many and not one.default and one.name in values:
        value = (*_items(values[one.name].value), *_items(value))
    values[one.name] = Value(value, origin)


def _items(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else ()  # pyright: ignore[reportUnknownVariableType]


def _notes(one: Setting, flag: str) -> list[str]:
    if one.deprecated:
        return [f"{flag} has no effect: {one.deprecated}"]
    current = one.flags[0]
    if any(flag in (alias, "--" + alias[2:].replace("_", "-")) for alias in one.aliases):
        return [f"{flag} is now called {current}"]
    return []
