"""The questions of `config`, asked from the catalogue: each setting when it matters for what was answered so far."""

from __future__ import annotations

from .catalogue import CATALOGUE, INTERVIEW
from .checking import in_scope
from .errors import AccelError, SettingError
from .origin import FILE, Origin, Value
from .paradigm import SWITCHES
from .rules import broken
from .settings import resolve
from .spelling import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    from .machine import Machine
    from .section import Setting
    from .settings import Settings

    class Asker(Protocol):
        """Whoever answers: a person at a terminal, or one who takes what is proposed."""

        def choose(self, question: str, options: Sequence[str], default: int, /) -> int:
            """Return the place of the option chosen."""
            ...

        def several(self, question: str, options: Sequence[str], default: Sequence[int], /) -> list[int]:
            """Return the places of the options chosen, of which there may be none."""
            ...

        def confirm(self, question: str, default: bool, /) -> bool:
            """Return yes or no."""
            ...

        def text(self, question: str, default: str, check: Callable[[str], str], /, *, hidden: bool) -> str:
            """Return a text for which ``check`` returns no reason against it."""
            ...

        def say(self, text: str, /) -> None:
            """Tell why an answer was not taken."""
            ...


ANSWER = Origin("your answer", FILE)
FREE = ("Leave it to the library", "yes", "no")
"""What a yes-or-no setting without a default is: None, True or False."""


class Proposals:
    """Answers every question as proposed."""

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
        """Take the default."""
        if why := check(default):
            raise AccelError(f"{question} {why}")
        return default

    def say(self, text: str) -> None:
        """Stop: what is proposed can't be taken."""
        raise AccelError(text)


class Interview:
    """Asks, and holds the answers."""

    def __init__(self, asker: Asker, machine: Machine, fixed: dict[str, object] | None = None) -> None:
        """Ask ``asker``, proposing what suits ``machine``; settings in ``fixed`` are answered already."""
        self.asker, self.machine, self.fixed = asker, machine, fixed or {}
        self.answers: dict[str, Value] = {}
        self._settings: Settings | None = None
        self.unset: dict[str, str] = {}
        """Answers that mean the same as none, as they were given (``all``)."""

    def run(self) -> dict[str, object]:
        """Ask all that matters; return what the file is to say, nested as there."""
        for section in INTERVIEW:
            for one in section.settings:
                self._take(one)
        return self._content()

    def settings(self) -> Settings:
        """Return the settings as answered so far."""
        if self._settings is None:
            self._settings = resolve(CATALOGUE, [self.answers])
        return self._settings

    def _take(self, one: Setting) -> None:
        settings = self.settings()
        if one.scope not in in_scope(settings) or (one.section.asked and not one.section.asked(settings)):
            return
        known = self.fixed.get(one.name) if one.name in self.fixed else one.implied and one.implied(settings)
        if known is not None:
            self._keep(one, known)
        elif one.ask and (one.asked is None or one.asked(settings)):
            self._ask(one, settings)

    def _ask(self, one: Setting, settings: Settings) -> None:
        if one.gate and not self.asker.confirm(one.gate, one.gate_default):
            return None
        while True:
            raw = self._answer(one, settings)
            why = self._reason(one, raw, settings)
            if not why:
                return self._keep(one, raw)
            self.asker.say(why)

    def _reason(self, one: Setting, raw: Any, settings: Settings) -> str:
        """Return why ``raw`` can't be the answer; empty where it can."""
        if raw is None:
            return ""
        try:
            value = one.parse(raw, ANSWER)
        except SettingError as error:
            return str(error).removeprefix(f"{ANSWER}: ")
        if value == "":
            return "an answer is needed here"
        before = broken(settings)
        after = broken(resolve(CATALOGUE, [{**self.answers, **_said(one, value)}]))
        return "\n".join(message for message in after if message not in before)

    def _keep(self, one: Setting, raw: Any) -> None:
        value = None if raw is None else one.parse(raw, ANSWER)
        if value is None:
            self.unset |= {} if raw is None else {one.name: str(raw)}
            return
        self.answers |= _said(one, value)
        self._settings = None

    def _answer(self, one: Setting, settings: Settings) -> Any:
        """Ask in the form that suits the setting."""
        default = self._proposal(one, settings)
        options = tuple(one.offered(settings)) if one.offered else one.choices
        if one.many:
            return self._several(one, default) if one.default else self._list(one, settings)
        if options:
            place = options.index(default) if default in options else 0
            return options[self.asker.choose(one.ask, [_label(one, option) for option in options], place)]
        if one.kind is not bool:
            return self._text(one, "" if default is None else str(default), settings)
        if default is None:
            return (None, True, False)[self.asker.choose(one.ask, FREE, 0)]
        return self.asker.confirm(one.ask, bool(default))

    def _proposal(self, one: Setting, settings: Settings) -> Any:
        proposed: Any = one.ask_default
        if callable(proposed):
            proposed = proposed(settings, self.machine)
        return one.default if proposed is None else proposed

    def _several(self, one: Setting, default: Any) -> list[bool]:
        labels = [_label(one, place) for place in range(len(default))]
        chosen = self.asker.several(one.ask, labels, [place for place, on in enumerate(default) if on])
        return [place in chosen for place in range(len(default))]

    def _list(self, one: Setting, settings: Settings) -> list[str]:
        """Ask for one item after the other, until nothing is given."""
        items = [self._text(one, "", settings)]
        while self.asker.confirm("Another?", False):
            items.append(self._text(one, "", settings))
        return items

    def _text(self, one: Setting, default: str, settings: Settings) -> str:
        def check(text: str) -> str:
            if not text.strip():
                return "an answer is needed here"
            return self._reason(one, [text] if one.many else text, settings)

        return self.asker.text(one.ask, default, check, hidden=one.secret)

    def _content(self) -> dict[str, object]:
        """Return what the file says: the answers, and of the top level's other settings what they are without."""
        content: dict[str, Any] = {}
        settings = self.settings()
        for one in CATALOGUE.settings:
            value = self.unset.get(one.name)
            if one.name in self.answers:
                value = plain(one, self.answers[one.name].value)
            elif value is None:
                value = unasked(one, settings)
            if value is None or one.key is None or one.secret or one.scope not in in_scope(settings):
                continue
            mapping, _dot, own = one.key.rpartition(".")
            (content.setdefault(mapping, {}) if mapping else content)[own] = value
        return content


def _said(one: Setting, value: object) -> dict[str, Value]:
    """Return what an answer says: of a switch a file tells by its type, and says nothing when it is off."""
    kind = dict(SWITCHES).get(one.name)
    if kind is None or one.key is not None:
        return {one.name: Value(value, ANSWER)}
    return {"distributed_type": Value(kind, ANSWER)} if value else {}


def unasked(one: Setting, settings: Settings) -> Any:
    """Return what a new file says of a setting that nobody was asked for; None: nothing.

    The existing command wants the plain ones at the top level said, and each in the file says what a launch will do.
    """
    if one.file_default is not None:
        return one.file_default(settings) if callable(one.file_default) else one.file_default
    plain_one = not one.section.key and not one.ours and one.scope in in_scope(settings)
    return plain(one, one.default) if plain_one and one.default not in (None, (), "") else None


def _label(one: Setting, option: Any) -> str:
    return one.labels.get(option, str(option))
