"""Settings resolved from their layers: typed, frozen, each with its origin."""

from __future__ import annotations

from .origin import DEFAULT, FILE, Origin, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import TypeVar

    from .paradigm import Paradigm
    from .section import Section, Setting

    S = TypeVar("S", bound=Section)


class Catalogue:
    """Every setting there is, and the ways to find one."""

    def __init__(self, sections: Iterable[type[Section]]) -> None:
        """Index ``sections``; raises ValueError where two settings claim one name, flag, key or variable."""
        self.sections = tuple(sections)
        self.settings = tuple(one for section in self.sections for one in section.settings)
        self.built_in = {one.name: Value(one.default, DEFAULT) for one in self.settings}
        self.by_name = _index(self.settings, lambda one: (one.name,))
        self.by_flag = _index(self.settings, lambda one: (*one.flags, *one.off_flags))

    def named(self, text: str) -> Setting:
        """Return the setting that ``text`` names: by a key of files, or by its own name as in the flag.

        Raises:
            SettingError: there is none.
        """
        name = text.removeprefix("--").replace("-", "_")
        one = self.by_key.get(text) or self.by_name.get(name)
        if one is None:
            from .errors import SettingError, nearest

            if section := self.mappings.get(text):
                first = section.settings[0].key
                raise SettingError(f"{text} holds several settings: name one of them with a dot, such as {first}")
            raise SettingError(f"there is no setting {text!r}{nearest(text, [*self.by_key, *self.by_name])}")
        return one

    @property
    def by_key(self) -> dict[str, Setting]:
        """Every key path that a file may hold, with its setting."""
        return _index(self.settings, lambda one: one.keys)

    @property
    def by_variable(self) -> dict[str, Setting]:
        """Every environment variable that is read, with the setting it sets."""
        return _index(self.settings, lambda one: one.variables)

    @property
    def mappings(self) -> dict[str, type[Section]]:
        """The nested mappings that a file may hold."""
        return {section.key: section for section in self.sections if section.key}


def _index(settings: Iterable[Setting], names: Callable[[Setting], Iterable[str]]) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for one in settings:
        for name in names(one):
            if found.setdefault(name, one) is not one:
                raise ValueError(f"{name!r} is claimed by {found[name].name} and by {one.name}")
    return found


class Settings:
    """What every setting is in this launch, and who said so.

    ``settings[Fsdp].fsdp_version`` is a typed value; ``settings.origin("fsdp_version")`` says where it came from.
    """

    def __init__(self, catalogue: Catalogue, values: Mapping[str, Value], notes: Iterable[str] = ()) -> None:
        """Hold ``values`` by setting name; every setting of ``catalogue`` has one."""
        self.catalogue = catalogue
        self._values = dict(values)
        self.notes = tuple(notes)
        self._sections: dict[type[Section], Section] = {}
        self._paradigm: Paradigm | None = None

    def __getitem__(self, section: type[S]) -> S:
        """Return the section's values."""
        if section not in self._sections:
            self._sections[section] = section(**{one.name: self._values[one.name].value for one in section.settings})
        return self._sections[section]  # pyright: ignore[reportReturnType]

    def __iter__(self) -> Iterator[tuple[Setting, Value]]:
        """Yield every setting with its value, in the catalogue's order."""
        return ((one, self._values[one.name]) for one in self.catalogue.settings)

    def value(self, name: str) -> Value:
        """Return the value of the setting called ``name`` with its origin."""
        return self._values[name]

    def origin(self, name: str) -> str:
        """Return where the setting's value came from, as text."""
        return self._values[name].origin.text

    def given(self, name: str) -> bool:
        """Whether anyone gave the setting, rather than it being built in."""
        return self._values[name].given

    def with_file(self, path: str) -> Settings:
        """Return the same settings, saying that they were read from the default config file at ``path``."""
        found = Value(path, Origin("default config file", FILE))
        return Settings(self.catalogue, {**self._values, "config_file": found}, self.notes)

    @property
    def paradigm(self) -> Paradigm:
        """Which way of distributing these settings ask for."""
        if self._paradigm is None:
            from .paradigm import paradigm

            self._paradigm = paradigm(self)
        return self._paradigm


def resolve(catalogue: Catalogue, layers: Iterable[Mapping[str, Value]], notes: Iterable[str] = ()) -> Settings:
    """Merge ``layers``, strongest first, into settings; what no layer gives is built in. Pure."""
    values = dict(catalogue.built_in)
    for layer in reversed(list(layers)):
        values.update(layer)
    return Settings(catalogue, values, notes)
