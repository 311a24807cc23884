"""What is for some ranks alone: ``[RANKS:]COMMAND`` of ``wrap``, ``[RANKS:]NAME=VALUE`` of ``rank_env``."""

from __future__ import annotations

from accel_config.catalogue import Launcher
from accel_config.record import Record
from accel_config.settings.readers import natural
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from accel_config.settings.resolved import Settings

LAST = "last"
NUMBERS = frozenset("0123456789,- \t")
COMMANDS = frozenset(" \t\n/='\"")
"""Letters before the first colon that show that it belongs to a command or a variable."""
PLACEHOLDERS = "rlhn%"
QUOTES, BLANKS = "'\"", " \t\n"
ESCAPED = '$`"\\\n'
"""What a backslash in double quotes escapes for a shell; it stays before another letter."""
OF_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables by which ranks find each other: each rank gets a value of its own, or of the run."""


class Selected(Record):
    """What is for some ranks."""

    ranks: str
    """Numbers, ranges and ``last``, separated by commas; empty for all ranks."""
    rest: str
    """The command, or the variable."""

    def beyond(self, total: int) -> str:
        """Return a rank that a run of so many doesn't have; nothing if it has all of them."""
        ends = (end for part in self.ranks.split(",") for end in part.split("-"))
        return next((end for end in ends if end.isdecimal() and int(end) >= total), "")


def selected(text: str) -> Selected:
    """Read a value of either setting.

    Raises:
        ValueError: its ranks aren't valid.
    """
    before, colon, rest = text.partition(":")
    before = before.strip()
    if not colon or not (NUMBERS.issuperset(before) or COMMANDS.isdisjoint(before)):
        return Selected("", text.lstrip())
    parts = ["-".join(end.strip() for end in part.split("-")) for part in before.split(",")]
    if not all(map(_valid, parts)):
        raise ValueError(f"{before!r} isn't a list of ranks, such as 0, 1-3, 0,4 or {LAST}")
    return Selected(",".join(parts), rest.lstrip())


def _valid(part: str) -> bool:
    least, dash, most = part.partition("-")
    first, end = natural(least), natural(most) if dash else None
    if not dash:
        return part == LAST or first is not None
    return first is not None and (most == LAST or (end is not None and end >= first))


def words(command: str) -> tuple[str, ...]:
    """Return the words of a command, as a shell splits it that has nothing to expand.

    Raises:
        ValueError: a quote is open at the end, or a backslash; the message has the word.
    """
    found: list[str] = []
    word: str | None = None
    quote = ""
    letters = iter(command)
    for letter in letters:
        if letter == quote or (not quote and letter in QUOTES):
            quote, word = "" if quote else letter, word or ""
        elif letter == "\\" and quote != "'":
            escaped = next(letters, None)
            if escaped is None:
                raise ValueError("the backslash at the end has no letter after it")
            word = (word or "") + ("\\" if quote and escaped not in ESCAPED else "") + escaped.strip("\n")
        elif quote or letter not in BLANKS:
            word = (word or "") + letter
        elif word is not None:
            found.append(word)
            word = None
    if quote:
        raise ValueError(f"the quote in {word!r} has no end")
    return tuple(found) if word is None else (*found, word)


def wrap(settings: Settings) -> str:
    """Return why a command in front of ranks isn't valid, or can't be there."""
    commands = settings[Launcher].wrap
    wrong = next(_wrong(settings, "wrap", commands, _command), "")
    if commands and settings[Launcher].preload and not wrong:
        return (
            f"{describe(settings, 'wrap', 'preload')}: ranks that are forked from one process have no command in "
            "front; leave out wrap, or give --preload ''"
        )
    return wrong


def rank_env(settings: Settings) -> str:
    """Return why a variable of some ranks isn't valid."""
    return next(_wrong(settings, "rank_env", settings[Launcher].rank_env, _variable), "")


def _wrong(settings: Settings, name: str, texts: tuple[str, ...], check: Callable[[Selected], None]) -> Iterator[str]:
    for text in texts:
        try:
            check(selected(text))
            _placeholders(text)
        except ValueError as error:
            shown = repr(text.partition("=")[0] + "=***" if name == "rank_env" and "=" in text else text)
            yield f"{settings.origin(name)}: {name} {shown}: {error}"


def _command(one: Selected) -> None:
    if not any(words(one.rest)[:1]):
        raise ValueError("there is no command")


def _variable(one: Selected) -> None:
    name, equals, _value = one.rest.partition("=")
    if not equals or not name.isidentifier() or not name.isascii():
        raise ValueError("a variable is NAME=VALUE")
    if name in OF_RANKS or name.startswith(("GROUP_", "ROLE_", "TORCHELASTIC_", "ACCEL_")):
        raise ValueError(f"the launcher itself sets {name}")


def _placeholders(text: str) -> None:
    pieces = text.replace("%%", "").split("%")[1:]
    unknown = next((piece[:1] for piece in pieces if piece[:1] not in tuple(PLACEHOLDERS)), None)
    if unknown is not None:
        raise ValueError(f"'%{unknown}' isn't one of %r, %l, %h, %n and %%; write %% for a percent sign")
