"""How a setting is declared: once, as an annotated field of a section.

Flags, files, environment, checks, questions, schema and reference are loops over ``Section.settings``. Modules that
declare sections must not use ``from __future__ import annotations``: the hints are read as live objects.
"""

from __future__ import annotations

from accel_config.settings.domain import Domain
from accel_config.settings.forms import usual
from accel_config.settings.readers import READERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, ParamSpec, dataclass_transform

    from accel_config.settings.question import Question
    from accel_config.settings.values import Values

    P = ParamSpec("P")
else:

    def dataclass_transform(**_options):  # noqa: D103
        return lambda cls: cls


class Setting(Domain):
    """One setting: its names, its values and its meaning.

    ``name`` names its field, its flag (``--name``) and its variable (``ACCELERATE_LAUNCH_NAME``).
    """

    section: type[Section]
    optional: bool

    def __init__(  # noqa: PLR0913
        self,
        default: Any = None,
        *,
        help: str,  # noqa: A002
        default_text: str = "",
        metavar: str = "",
        registry: str = "",
        common: bool = False,
        key: str | None = "",
        old_keys: tuple[str, ...] = (),
        flag: bool = True,
        short: str = "",
        aliases: tuple[str, ...] = (),
        off: str = "",
        switch: bool = False,
        joins: bool = False,
        pairs: bool = False,
        lines: bool = False,
        choices: tuple[Any, ...] = (),
        renamed: dict[str, str] | None = None,
        unset: tuple[str, ...] = (),
        minimum: float | None = None,
        maximum: float | None = None,
        or_zero: bool = False,
        env: str | tuple[str, ...] = "",
        form: Callable[[object], str] = usual,
        exported: Callable[[Values], bool] | None = None,
        ask: Question | None = None,
        scope: str = "",
        ours: bool = False,
        secret: bool = False,
        masked: bool = False,
        deprecated: str = "",
        variables: tuple[str, ...] = (),
    ) -> None:
        """Declare a setting; the documented arguments are the vocabulary.

        Args:
            default: The built-in value; None means unset.
            help: One or two sentences for ``--help`` and the reference.
            default_text: The default as help shows it, where the built-in value is none, such as ``automatic``.
            metavar: The name of the value in help, where its type isn't clear enough: ``FILE``, ``SECONDS``.
            registry: A group of entry points whose names are the values to choose from (see `known`).
            common: Whether many people use its flag: ``launch --help`` shows those alone.
            key: Its path in the config file, by default derived from section and name; None: never in a file.
            old_keys: Keys of old files that are read as this one.
            flag: Whether ``launch`` has a flag for it.
            short: A one-letter flag.
            aliases: Further long flags; a note names the current one.
            off: A flag that sets a boolean to false.
            switch: A flag that stands alone and then means ``true``. The next word is its value only if it is one of
                the choices after the first.
            joins: Text that a file can also give as a list, joined with commas.
            pairs: Each item is ``NAME=VALUE``, or ``NAME``.
            lines: In a text, items end with their line instead of at a comma, which they can hold.
            choices: The valid values, in any letter case.
            renamed: Other texts for a value, with the text that replaces each.
            unset: Texts that mean the same as leaving it out.
            minimum: The least valid number.
            maximum: The greatest valid number.
            or_zero: 0 is valid below the minimum too: it switches something off.
            env: The variable that the launched script reads; for ``many``, also one for each item.
            form: How the value is written into that variable.
            exported: A condition for setting that variable, in addition to the section's.
            ask: The question of the wizard; None: the wizard never asks for it.
            scope: Which files can hold it: those for a "machine", for a SageMaker "job", or "both"; by default the
                section's.
            ours: Hugging Face's `accelerate` refuses the key, so a file holds it only where the user set it.
            secret: Never shown and never written.
            masked: Only the name of each NAME=VALUE is shown.
            deprecated: The note on its use: why it has no effect, or what replaces it.
            variables: Further environment variables that set it, after ``ACCELERATE_LAUNCH_<NAME>``.
        """
        self.default, self.help, self.old_keys = default, help, old_keys
        self.default_text, self.metavar, self.registry = default_text, metavar, registry
        self.common = common
        self._key, self.flag, self.short, self.aliases, self.off = key, flag, short, aliases, off
        self.switch, self.joins, self.pairs, self.lines, self.choices = switch, joins, pairs, lines, choices
        self.renamed, self.unset = renamed or {}, unset
        self.minimum, self.maximum, self.or_zero = minimum, maximum, or_zero
        self.env: tuple[str, ...] = (env,) if isinstance(env, str) and env else tuple(env)
        self.form, self.exported, self.ask, self._scope = form, exported, ask, scope
        self.ours, self.secret, self.masked, self.deprecated = ours, secret, masked, deprecated
        self._variables = variables

    def bind(self, section: type[Section], name: str, hint: Any) -> None:
        """Take the name and the type from the field that this declares.

        Raises:
            TypeError: settings can't have this type.
        """
        self.section, self.name = section, name
        options = getattr(hint, "__args__", ()) if getattr(hint, "__origin__", None) is None else ()
        self.optional = type(None) in options
        if options:
            (hint,) = (option for option in options if option is not type(None))
        self.many = getattr(hint, "__origin__", None) is tuple
        self.kind = hint.__args__[0] if self.many else getattr(hint, "__origin__", hint)
        if self.kind not in READERS and self.kind is not dict:
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
        """Every path under which a file can hold it, the current one first."""
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
        """Which files can hold it: ``machine``, ``job`` or ``both``."""
        return self._scope or self.section.scope

    @property
    def needed(self) -> bool:
        """Whether a job needs it: the wizard always asks for it."""
        ask = self.ask
        return self.scope == "job" and ask is not None and ask.when is None and (not ask.gate or bool(ask.made))

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

    def spell(self, value: object) -> dict[str, str]:
        """Return the variables that pass this value to a script; empty where the setting has no variable."""
        texts = map(self.form, value) if len(self.env) > 1 and isinstance(value, tuple) else [self.form(value)]  # pyright: ignore[reportUnknownArgumentType]
        return dict(zip(self.env, texts, strict=False))


def _as_any(declare: Callable[P, Setting]) -> Callable[P, Any]:
    return declare


setting = _as_any(Setting)
"""Declares a field of a section. It is `Setting`, typed as Any so that the field keeps the type of its hint."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Section:
    """A group of settings: a mapping in the file, a heading in the help, one class to read values from.

    Instances hold values: ``settings[Fsdp].fsdp_version``.
    """

    settings: ClassVar[tuple[Setting, ...]] = ()
    key: ClassVar[str] = ""
    """The mapping of the file that holds these keys; empty for the top level."""
    optional_prefix: ClassVar[str] = ""
    """A prefix that keys of this mapping can leave out."""
    title: ClassVar[str] = ""
    short: ClassVar[str] = ""
    """The word for it after ``--help``; by default the name of the class in small letters."""
    active: ClassVar[Callable[[Values], bool] | None] = None
    """When its variables are set for the script; None: always."""
    mark: ClassVar[str] = ""
    """A variable that is ``true`` for the script while the section is active."""
    asked: ClassVar[Callable[[Values], bool] | None] = None
    """When the wizard asks its questions; None: always."""
    scope: ClassVar[str] = "machine"
    """Which files can hold its settings: ``machine``, ``job`` or ``both``."""

    def __init_subclass__(  # noqa: PLR0913
        cls,
        *,
        title: str = "",
        short: str = "",
        key: str = "",
        prefix: str = "",
        active: Callable[[Values], bool] | None = None,
        mark: str = "",
        asked: Callable[[Values], bool] | None = None,
        scope: str = "machine",
    ) -> None:
        """Collect the settings that ``cls`` declares.

        Raises:
            TypeError: a setting has a name that sections use themselves.
        """
        cls.title, cls.key, cls.optional_prefix, cls.mark = title or cls.__name__, key, prefix, mark
        cls.short = short or cls.__name__.lower()
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
