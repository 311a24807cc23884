"""The questions of `config`, asked from the catalogue: each setting when it matters for what was answered so far."""

from __future__ import annotations

from .catalogue import CATALOGUE, INTERVIEW
from .catalogue.hardware import SHARDABLE
from .checking import in_scope
from .errors import AccelError, SettingError
from .origin import FILE, TO_BE_MADE, Origin, Value
from .paradigm import SHARDED, SWITCHES
from .rules import broken
from .settings import resolve
from .spelling import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence
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
KINDS = dict(SWITCHES)
STATES = (None, True, False)
FREE = ("Leave it to the library", "yes", "no")
"""What a yes-or-no setting without a default may be, and how that is called."""


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

    def __init__(
        self,
        asker: Asker,
        machine: Machine,
        fixed: dict[str, object] | None = None,
        *,
        earlier: Mapping[str, Value] | None = None,
        makers: Container[str] = (),
    ) -> None:
        """Ask ``asker``, proposing what suits ``machine``.

        Args:
            asker: Whoever answers.
            machine: What is proposed where nothing else is.
            fixed: Settings that are answered already.
            earlier: What the file says that this one is to replace: it is proposed again.
            makers: The settings whose values can be made.
        """
        self.asker, self.machine, self.fixed = asker, machine, fixed or {}
        self.earlier, self.makers = earlier or {}, makers
        self.answers: dict[str, Value] = {}
        self._settings: Settings | None = None
        self.unset: dict[str, str] = {}
        """Answers that mean the same as none, as they were given (``all``)."""
        self.told: list[str] = []
        """What is to be told at the end."""

    def run(self) -> dict[str, object]:
        """Ask all that matters; return what the file is to say, nested as there."""
        for section in INTERVIEW:
            for one in section.settings:
                self._take(one)
        for one in CATALOGUE.settings:
            if not one.ask:
                self._carry(one)
        return self._content()

    def to_make(self) -> list[Setting]:
        """Return the settings that name what isn't there yet."""
        return [one for one in CATALOGUE.settings if self.settings().value(one.name).origin == TO_BE_MADE]

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

    def _carry(self, one: Setting) -> None:
        """Keep what the earlier file says of a setting that nobody is ever asked for."""
        settings = self.settings()
        unread = one.section.key and one.section.asked and not one.section.asked(settings)
        if one.name not in self.earlier or unread or one.name in self.answers or one.scope not in in_scope(settings):
            return
        raw = plain(one, self.earlier[one.name].value)
        if why := one.deprecated or self._reason(one, raw, settings):
            self.asker.say(f"{one.key} isn't kept: {why}")
        else:
            self._keep(one, raw)

    def _ask(self, one: Setting, settings: Settings) -> None:
        if one.gate and (not one.made or one.name in self.makers) and not self._open(one):
            return self._decline(one)
        while True:
            raw = self._answer(one, settings)
            why = self._reason(one, raw, settings)
            if not why:
                return self._keep(one, raw)
            self.asker.say(why)

    def _open(self, one: Setting) -> bool:
        """Ask the question that comes first."""
        if one.name in self.earlier:
            return self.asker.confirm(one.gate, True)
        # A file of the same kind that says nothing of it tells what was answered then; Enter alone makes nothing.
        answered = self.earlier and one.scope in in_scope(resolve(CATALOGUE, [self.earlier])) and not one.made
        return self.asker.confirm(one.gate, one.gate_default and not answered)

    def _decline(self, one: Setting) -> None:
        if one.declined:
            self.told.append(one.declined)
        if one.made:
            self.answers[one.name] = Value(one.made, TO_BE_MADE)
            self._settings = None

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
        after = broken(resolve(CATALOGUE, [{**self.answers, **_said(one, value)}]))
        before = broken(settings) if after else []
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
        usual = self._usual(one, settings)
        earlier = self._earlier(one, settings)
        default = usual if earlier is None else earlier
        options = tuple(one.offered(settings)) if one.offered else one.choices
        if one.many:
            return self._several(one, default) if one.default else self._list(one, earlier or (), settings)
        if options:
            proposed = default if default in options else usual
            place = options.index(proposed) if proposed in options else 0
            return options[self.asker.choose(one.ask, [_label(one, option) for option in options], place)]
        if one.kind is not bool:
            return self._text(one, "" if default is None else str(default), settings)
        if usual is None:
            return STATES[self.asker.choose(one.ask, FREE, STATES.index(default))]
        return self.asker.confirm(one.ask, bool(default))

    def _usual(self, one: Setting, settings: Settings) -> Any:
        """Return what is proposed where there is no earlier file."""
        proposed: Any = one.ask_default
        if callable(proposed):
            proposed = proposed(settings, self.machine)
        return one.default if proposed is None else proposed

    def _earlier(self, one: Setting, settings: Settings) -> Any:
        """Return what the earlier file says; None where it says nothing, or what can't be by today's answers."""
        found = self.earlier.get(one.name)
        value = None if found is None else found.value
        kind = self.earlier.get("distributed_type")
        if one.name in KINDS and one.key is None:
            value = None if kind is None else kind.value == KINDS[one.name]
        elif kind is not None and one.name == "distributed_type" and kind.value in SHARDED:
            here = self.machine.distributed_type
            value = here if here in SHARDABLE else SHARDABLE[0]
        return None if value is None or self._reason(one, plain(one, value), settings) else value

    def _several(self, one: Setting, default: Any) -> list[bool]:
        labels = [_label(one, place) for place in range(len(default))]
        chosen = self.asker.several(one.ask, labels, [place for place, on in enumerate(default) if on])
        return [place in chosen for place in range(len(default))]

    def _list(self, one: Setting, earlier: Sequence[object], settings: Settings) -> list[str]:
        """Ask for one item after the other, until nothing is given."""
        defaults = [str(item) for item in earlier]
        items: list[str] = []
        while not items or self.asker.confirm("Another?", len(items) < len(defaults)):
            default = defaults[len(items)] if len(items) < len(defaults) else ""
            items.append(self._text(one, default, settings))
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
    kind = KINDS.get(one.name)
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
