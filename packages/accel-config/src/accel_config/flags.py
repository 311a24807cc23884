"""The command line, cut at the script by the catalogue."""

from __future__ import annotations

from .errors import SettingError, nearest
from .origin import FLAG, Origin, Value
from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .section import Setting
    from .settings import Catalogue

BOOLEAN_WORDS = frozenset(["true", "false", "t", "f", "yes", "no", "y", "n", "on", "off", "1", "0"])


class Typed(Record):
    """What a command line says: settings by name, then the script with its own arguments."""

    values: dict[str, Value]
    script: tuple[str, ...]
    help: bool
    notes: tuple[str, ...]
    flags: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Each flag as it was typed: the name of its setting, and its words."""


def split(catalogue: Catalogue, argv: Sequence[str]) -> Typed:
    """Read the flags in front of the script; everything from the script on is the script's, byte for byte.

    Raises:
        SettingError: an unknown flag, a value that is missing or of the wrong type.
    """
    words = list(argv)
    values: dict[str, Value] = {}
    notes: list[str] = []
    flags: list[tuple[str, tuple[str, ...]]] = []
    asked_help = False
    place = 0
    while place < len(words):
        start, word = place, words[place]
        place += 1
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            place -= 1
            break
        if word in ("-h", "--help"):
            asked_help = True
            continue
        one, flag, text = _flag(catalogue, word)
        if text is None:
            text = _argument(catalogue, one, flag, words[place] if place < len(words) else None)
            place += text is not None
        _set(values, one, flag, text)
        notes += _notes(one, flag)
        flags.append((one.name, tuple(words[start:place])))
    return Typed(values, tuple(words[place:]), asked_help, tuple(notes), tuple(flags))


def _flag(catalogue: Catalogue, word: str) -> tuple[Setting, str, str | None]:
    """Return the setting, its flag as typed, and the value that came with it in the same word."""
    flag, equals, text = word.partition("=")
    if flag in catalogue.by_flag:
        return catalogue.by_flag[flag], flag, text if equals else None
    short = catalogue.by_flag.get(word[:2]) if not word.startswith("--") else None
    if short is not None and not short.switch:
        return short, word[:2], word[2:]
    raise SettingError(f"{flag} is no flag of launch{nearest(flag, [*catalogue.by_flag, '--help'])}")


def _argument(catalogue: Catalogue, one: Setting, flag: str, following: str | None) -> str | None:
    """Return the next word if it is the flag's value, None where the flag stands alone."""
    if one.switch or flag in one.off_flags:
        return None
    if one.kind is bool and not one.many:
        return following if following is not None and following.lower() in BOOLEAN_WORDS else None
    if following is None or following == "--" or following.partition("=")[0] in (*catalogue.by_flag, "-h", "--help"):
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
        return [f"{flag} is called {current} now"]
    return []
