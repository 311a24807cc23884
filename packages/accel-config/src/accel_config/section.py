"""How a setting is declared: once, as an annotated field of a section.

Everything that knows a setting (flags, files, environment, checks, prompts, schema, reference docs) is a loop over
``Section.settings``. Modules that declare sections must not use ``from __future__ import annotations``: the hints are
read as live objects.
"""

from __future__ import annotations

from math import isfinite
from os.path import expanduser

from .errors import SettingError
from .span import Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, ClassVar, ParamSpec, dataclass_transform

    from .machine import Machine
    from .origin import Origin
    from .settings import Settings

    P = ParamSpec("P")
else:

    def dataclass_transform(**_options):  # noqa: D103
        return lambda cls: cls


LONGEST = 200  # characters of a wrong value that a message shows

TRUE = frozenset(("true", "t", "yes", "y", "on", "1"))
FALSE = frozenset(("false", "f", "no", "n", "off", "0"))


def boolean(text: str) -> bool:
    """Read a boolean word in any letter case; raises ValueError for any other text."""
    word = text.strip().lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise ValueError(text)


def integer(text: str) -> int:
    """Read a whole number, also as ``1e8``; raises ValueError for a fraction or any other text."""
    try:
        return int(text)
    except ValueError:
        value = number(text)
        if not value.is_integer():
            raise ValueError(text) from None
        return int(value)


def number(text: str) -> float:
    """Read a finite number; raises ValueError otherwise."""
    value = float(text)
    if not isfinite(value):
        raise ValueError(text)
    return value


def span(text: str) -> Span:
    """Read a whole number or a range of them, ``2:4``; raises ValueError for any other text."""
    least, colon, most = text.partition(":")
    return Span.of(integer(least), integer(most if colon else least))


# How a value is written into an environment variable.
def lower(value: object) -> str:
    """``true``, ``cpu``."""
    return str(value).lower()


def upper(value: object) -> str:
    """``INDUCTOR``."""
    return str(value).upper()


def plain(value: object) -> str:
    """As it is; a boolean as ``True`` or ``False``."""
    return str(value)


def path(value: object) -> str:
    """A path with ``~`` replaced by the home folder, which no library does."""
    return expanduser(str(value))


def digit(value: object) -> str:
    """A boolean as ``1`` or ``0``."""
    return str(int(bool(value)))


def _usual(value: object) -> str:
    """Write booleans as ``true`` and ``false``, lists with commas, and the rest as it is."""
    if isinstance(value, bool):
        return lower(value)
    return ",".join(str(item) for item in value) if isinstance(value, tuple) else str(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


_READERS: dict[type, Callable[[str], Any]] = {bool: boolean, int: integer, Span: span, float: number, str: str}
_WANTED = {
    bool: "true or false",
    int: "a whole number",
    Span: "a whole number or MIN:MAX",
    float: "a number",
    str: "text",
    dict: "a mapping",
}


def _is_pair(text: str) -> bool:
    name, equals, _value = text.partition("=")
    return bool(equals) and name.isidentifier()


class Setting:
    """One setting: what it is called everywhere, what it may be, and what it means."""

    name: str
    """The name of its field, of its flag (``--name``) and of its variable (``ACCELERATE_LAUNCH_NAME``)."""
    section: type[Section]
    kind: type
    """bool, int, Span, float, str or dict; of each item when ``many``."""
    many: bool
    optional: bool

    def __init__(  # noqa: PLR0913
        self,
        default: Any = None,
        *,
        help: str,  # noqa: A002
        key: str | None = "",
        old_keys: tuple[str, ...] = (),
        flag: bool = True,
        short: str = "",
        aliases: tuple[str, ...] = (),
        off: str = "",
        switch: bool = False,
        joins: bool = False,
        pairs: bool = False,
        choices: tuple[Any, ...] = (),
        renamed: dict[str, str] | None = None,
        unset: tuple[str, ...] = (),
        minimum: float | None = None,
        maximum: float | None = None,
        env: str | tuple[str, ...] = "",
        form: Callable[[object], str] = _usual,
        exported: Callable[[Settings], bool] | None = None,
        ask: str = "",
        ask_default: str | float | Callable[[Settings, Machine], Any] | None = None,
        asked: Callable[[Settings], bool] | None = None,
        gate: str = "",
        gate_default: bool = False,
        declined: str = "",
        made: str = "",
        offered: Callable[[Settings], Iterable[Any]] | None = None,
        labels: dict[Any, str] | None = None,
        implied: Callable[[Settings], Any] | None = None,
        file_default: str | int | Callable[[Settings], Any] | None = None,
        scope: str = "",
        ours: bool = False,
        secret: bool = False,
        masked: bool = False,
        deprecated: str = "",
        variables: tuple[str, ...] = (),
    ) -> None:
        """Declare a setting; the documented arguments are the declaration's vocabulary.

        Args:
            default: The built-in value; None means unset.
            help: One or two sentences for ``--help`` and the reference.
            key: Its path in the config file. Derived from section and name unless given; None: never in a file.
            old_keys: Other keys that old files use, read as this one.
            flag: Whether ``launch`` has a flag for it.
            short: A one-letter flag.
            aliases: Further long flags, each accepted with a note that names the current one.
            off: A flag that sets a boolean to false.
            switch: A boolean flag that never takes the next word as its value.
            joins: Text that a file may also give as a list, joined with commas.
            pairs: Each item is ``NAME=VALUE``.
            choices: The values allowed, in any letter case.
            renamed: Other texts for a value, read as the one that stands for them.
            unset: Texts that mean the same as leaving it out.
            minimum: The least number allowed.
            maximum: The greatest number allowed.
            env: The variable that the launched script reads; for ``many``, one for each item is possible.
            form: How the value is written into that variable.
            exported: A condition beyond the section's for setting that variable.
            ask: The question in the wizard.
            ask_default: The answer that the wizard proposes where that isn't the built-in value; or a function that
                finds it from the answers so far and the `accel_config.machine.Machine`.
            asked: When the wizard asks it, by the answers so far; the section's own condition must hold too.
            gate: A question answered by yes or no that comes first; after a no the setting stays unset.
            gate_default: The answer that the wizard proposes to that.
            declined: What the wizard tells at its end after that no.
            made: The name of what can be made after that no, which is then the answer; the gate's question is only
                asked where somebody can make it (`accel_config.makers`).
            offered: The answers to choose from, by the answers so far, where those aren't all choices.
            labels: How the wizard shows choices (of several booleans: each by its place).
            implied: What the answers so far make of it without a question; None: nothing.
            file_default: What a new file says of it unasked, where that isn't the built-in value; or a function that
                finds it from the answers.
            scope: Which files may hold it: those for a "machine", for a SageMaker "job", or "both". The section's
                own unless given.
            ours: The existing command refuses this key in a file, so we write it only when the user set it.
            secret: Never shown, never written.
            masked: Of each NAME=VALUE that it holds only the name is shown.
            deprecated: What to say when it is used: why it has no effect, or what to use.
            variables: Environment variables it is also read from, after ``ACCELERATE_LAUNCH_<NAME>``.
        """
        self.default, self.help, self.old_keys = default, help, old_keys
        self._key, self.flag, self.short, self.aliases, self.off = key, flag, short, aliases, off
        self.switch, self.joins, self.pairs, self.choices = switch, joins, pairs, choices
        self.renamed, self.unset = renamed or {}, unset
        self.minimum, self.maximum = minimum, maximum
        self.env: tuple[str, ...] = (env,) if isinstance(env, str) and env else tuple(env)
        self.form, self.exported, self.ask, self.ask_default = form, exported, ask, ask_default
        self.asked, self.offered, self.labels = asked, offered, labels or {}
        self.gate, self.gate_default, self.declined, self.made = gate, gate_default, declined, made
        self.implied, self.file_default, self._scope = implied, file_default, scope
        self.ours, self.secret, self.masked, self.deprecated = ours, secret, masked, deprecated
        self._variables = variables

    def bind(self, section: type[Section], name: str, hint: Any) -> None:
        """Take the name and the type from the field that this declares."""
        self.section, self.name = section, name
        options = getattr(hint, "__args__", ()) if getattr(hint, "__origin__", None) is None else ()
        self.optional = type(None) in options
        if options:
            (hint,) = (option for option in options if option is not type(None))
        self.many = getattr(hint, "__origin__", None) is tuple
        self.kind = hint.__args__[0] if self.many else getattr(hint, "__origin__", hint)
        if self.kind not in _READERS and self.kind is not dict:
            raise TypeError(f"{section.__name__}.{name}: a setting can't be of type {hint!r}")

    @property
    def key(self) -> str | None:
        """Its path in the config file, nested with a dot."""
        if self._key is None:
            return None
        own = self._key or self.name
        return f"{self.section.key}.{own}" if self.section.key else own

    @property
    def keys(self) -> tuple[str, ...]:
        """Every path under which a file may give it, the current one first."""
        if self._key is None:
            return ()
        section = self.section
        own = [self._key or self.name, *self.old_keys]
        if section.optional_prefix:
            own += [k.removeprefix(section.optional_prefix) for k in own] + [section.optional_prefix + k for k in own]
            own = [k for k in own if not k.startswith(section.optional_prefix * 2)]
        return tuple(dict.fromkeys(f"{section.key}.{k}" if section.key else k for k in own))

    @property
    def scope(self) -> str:
        """Which files may hold it: ``machine``, ``job`` or ``both``."""
        return self._scope or self.section.scope

    @property
    def needed(self) -> bool:
        """Whether a job can't do without it: it is asked for, whatever was answered before, and has no default."""
        return self.scope == "job" and bool(self.ask) and self.asked is None and (not self.gate or bool(self.made))

    @property
    def flags(self) -> tuple[str, ...]:
        """Every spelling of its flag, the current one first."""
        if not self.flag:
            return ()
        long = [f"--{self.name}", *self.aliases]
        both = [spelling for f in long for spelling in (f, "--" + f[2:].replace("_", "-"))]
        return tuple(dict.fromkeys([*both, *([self.short] if self.short else [])]))

    @property
    def off_flags(self) -> tuple[str, ...]:
        """The spellings of the flag that turns it off."""
        return tuple(dict.fromkeys((self.off, "--" + self.off[2:].replace("_", "-")))) if self.off else ()

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"ACCELERATE_LAUNCH_{self.name.upper()}"

    @property
    def variables(self) -> tuple[str, ...]:
        """Every environment variable that sets it, the strongest first."""
        return (self.variable, *self._variables)

    @property
    def wanted(self) -> str:
        """What it may be, for messages and help."""
        if self.choices:
            return "one of " + ", ".join(map(_usual, self.choices))
        what = "NAME=VALUE" if self.pairs else _WANTED[self.kind]
        if self.minimum is not None and self.maximum is not None:
            what += f" from {self.minimum} to {self.maximum}"
        elif self.minimum is not None:
            what += f", at least {self.minimum}"
        elif self.maximum is not None:
            what += f", at most {self.maximum}"
        return f"a list of {len(self.default)} ({what})" if self._fixed else f"a list ({what})" if self.many else what

    @property
    def _fixed(self) -> bool:
        return self.many and bool(self.default)

    def parse(self, raw: Any, origin: Origin) -> Any:
        """Read ``raw`` (text, or what a file holds): the one door for flags, files, variables and answers.

        Raises:
            SettingError: ``raw`` is not what the setting may be; the message names both and the origin.
        """
        if (self.kind is dict) != isinstance(raw, dict):
            raise self._refusal(raw, origin)
        if self.kind is dict:
            return raw
        if self.joins and isinstance(raw, (list, tuple)):
            raw = ",".join(str(item) for item in raw)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return tuple(self._items(raw, origin)) if self.many else self._one(raw, raw, origin)

    def _items(self, raw: Any, origin: Origin) -> list[Any]:
        """Read a list; one of a fixed length may be text, ``true,false,false``, also in brackets."""
        listed: Any = raw.strip().strip("()[]").split(",") if isinstance(raw, str) and self._fixed else raw
        items: list[Any] = [*listed] if isinstance(listed, list) else [listed]
        if not self._fixed:
            items = [item for item in items if item != ""]  # which old files hold for a question that was skipped
        if self._fixed and len(items) != len(self.default):
            raise self._refusal(raw, origin)
        return [self._one(item, raw, origin) for item in items]

    def _one(self, item: Any, raw: Any, origin: Origin) -> Any:
        if isinstance(item, (dict, list, tuple)):
            raise self._refusal(raw, origin)
        text = str(item).strip() if self.kind is not str or self.choices else str(item)
        if text.lower() in self.unset:
            return None
        text = self.renamed.get(text.lower(), text)
        try:
            value = _READERS[self.kind](text)
        except (ValueError, OverflowError):
            raise self._refusal(raw, origin) from None
        if self.choices:
            value = next((choice for choice in self.choices if str(choice).lower() == str(value).lower()), None)
        if value is None or not self._within(value) or (self.pairs and not _is_pair(text)):
            raise self._refusal(raw, origin)
        return value

    def _within(self, value: Any) -> bool:
        least = value.least if isinstance(value, Span) else value
        return (self.minimum is None or least >= self.minimum) and (self.maximum is None or value <= self.maximum)

    def _refusal(self, raw: object, origin: Origin) -> SettingError:
        from .errors import nearest

        shown = "***" if self.secret else repr(raw)
        shown = shown if len(shown) <= LONGEST else shown[:LONGEST] + "..."
        hint = nearest(str(raw), map(str, self.choices)) if self.choices else ""
        return SettingError(f"{origin}: {self.name} must be {self.wanted}, not {shown}{hint}")

    def spell(self, value: object) -> dict[str, str]:
        """Return the variables that tell a script this value; a value without a variable gives none."""
        texts = map(self.form, value) if len(self.env) > 1 and isinstance(value, tuple) else [self.form(value)]  # pyright: ignore[reportUnknownArgumentType]
        return dict(zip(self.env, texts, strict=False))


def _as_any(declare: Callable[P, Setting]) -> Callable[P, Any]:
    return declare


setting = _as_any(Setting)
"""Declares a field of a section. It is `Setting`, typed as Any so that the field keeps the type of its hint."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Section:
    """A group of settings that belong together: a mapping in the file, a heading in the help, one class to read.

    Instances hold values: ``settings[Fsdp].fsdp_version``.
    """

    settings: ClassVar[tuple[Setting, ...]] = ()
    key: ClassVar[str] = ""
    """The mapping that holds these keys in the file; empty for the top level."""
    optional_prefix: ClassVar[str] = ""
    """A prefix that keys of this mapping may leave out."""
    title: ClassVar[str] = ""
    active: ClassVar[Callable[[Settings], bool] | None] = None
    """When its variables are given to the script; None: always."""
    mark: ClassVar[str] = ""
    """A variable that says ``true`` to the script while the section is active."""
    asked: ClassVar[Callable[[Settings], bool] | None] = None
    """When the wizard asks its questions; None: always."""
    scope: ClassVar[str] = "machine"
    """Which files may hold its settings: ``machine``, ``job`` or ``both``."""

    def __init_subclass__(  # noqa: PLR0913
        cls,
        *,
        title: str = "",
        key: str = "",
        prefix: str = "",
        active: Callable[[Settings], bool] | None = None,
        mark: str = "",
        asked: Callable[[Settings], bool] | None = None,
        scope: str = "machine",
    ) -> None:
        """Collect the settings that ``cls`` declares."""
        cls.title, cls.key, cls.optional_prefix, cls.mark = title or cls.__name__, key, prefix, mark
        cls.active = None if active is None else staticmethod(active)  # pyright: ignore[reportAttributeAccessIssue]
        cls.asked = None if asked is None else staticmethod(asked)  # pyright: ignore[reportAttributeAccessIssue]
        cls.scope = scope
        fields = vars(cls)
        if taken := [name for name in cls.__annotations__ if name in vars(Section)]:
            raise TypeError(f"{cls.__name__}: a setting can't be called {taken[0]!r}, which sections use themselves")
        hints = {name: hint for name, hint in cls.__annotations__.items() if isinstance(fields.get(name), Setting)}
        for name, hint in hints.items():
            fields[name].bind(cls, name, hint)
        cls.settings = tuple(fields[name] for name in hints)

    def __init__(self, **values: object) -> None:
        """Hold ``values``; a setting that is left out has its default."""
        self.__dict__.update({one.name: one.default for one in type(self).settings})
        self.__dict__.update(values)
