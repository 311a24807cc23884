"""Settings resolved from their layers: typed, frozen, each with its origin."""

from __future__ import annotations

from accel_config.settings.origin import FILE, Origin, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from accel_config.settings.declaration import Setting
    from accel_config.settings.index import Catalogue
    from accel_config.settings.values import G, Group


class Settings:
    """The value of every setting in this launch, with its origin.

    ``settings[Fsdp].fsdp_version`` is a typed value; ``settings.origin("fsdp_version")`` is the place it came from.
    """

    def __init__(self, catalogue: Catalogue, values: Mapping[str, Value], notes: Iterable[str] = ()) -> None:
        """Hold ``values`` by setting name; every setting of ``catalogue`` has one."""
        self.catalogue = catalogue
        self._values = dict(values)
        self.notes = tuple(notes)
        self._sections: dict[type[Group], Group] = {}
        self.derived: dict[str, Any] = {}
        """Results that are computed once, such as that of `accel_config.settings.paradigm.paradigm`."""

    def __getitem__(self, section: type[G]) -> G:
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
        """Return whether a flag, variable, scheduler or file set it, be it to its built-in value."""
        return self._values[name].given

    def with_file(self, path: str) -> Settings:
        """Return the same settings, with ``path`` as the default config file that they were read from."""
        found = Value(path, Origin("default config file", FILE))
        return Settings(self.catalogue, {**self._values, "config_file": found}, self.notes)


def resolve(catalogue: Catalogue, layers: Iterable[Mapping[str, Value]], notes: Iterable[str] = ()) -> Settings:
    """Merge ``layers``, strongest first, into settings; other settings have their built-in values. Pure."""
    values = dict(catalogue.built_in)
    for layer in reversed(list(layers)):
        values.update(layer)
    return Settings(catalogue, values, notes)
