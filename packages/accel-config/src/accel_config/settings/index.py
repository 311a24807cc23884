"""The index of all settings: by name, flag, key and variable."""

from __future__ import annotations

from accel_config.settings.origin import DEFAULT, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from accel_config.settings.declaration import Section, Setting


class Catalogue:
    """All settings, and the ways to find one."""

    def __init__(self, sections: Iterable[type[Section]]) -> None:
        """Index ``sections``.

        Raises:
            ValueError: two settings have the same name or flag.
        """
        self.sections = tuple(sections)
        self.settings = tuple(one for section in self.sections for one in section.settings)
        self.built_in = {one.name: Value(one.default, DEFAULT) for one in self.settings}
        self.by_name = _index(self.settings, lambda one: (one.name,))
        self.by_flag = _index(self.settings, lambda one: (*one.flags, *one.off_flags))

    def named(self, text: str) -> Setting:
        """Return the setting that ``text`` names, by a key of files or by the name of its flag.

        Raises:
            SettingError: there is no such setting.
        """
        name = text.removeprefix("--").replace("-", "_")
        one = self.by_key.get(text) or self.by_name.get(name)
        if one is None:
            from accel_config.errors import SettingError, nearest

            if section := self.mappings.get(text):
                first = section.settings[0].key
                raise SettingError(f"{text} holds several settings; name one of them with a dot, such as {first}")
            hint = nearest(text, [*self.by_key, *self.by_name]) or "; `config schema` lists all keys"
            raise SettingError(f"{text!r} isn't a setting{hint}")
        return one

    @property
    def by_key(self) -> dict[str, Setting]:
        """Every key path that a file can hold, with its setting."""
        return _index(self.settings, lambda one: one.keys)

    @property
    def by_variable(self) -> dict[str, Setting]:
        """Every environment variable that is read, with its setting."""
        return _index(self.settings, lambda one: one.variables)

    @property
    def mappings(self) -> dict[str, type[Section]]:
        """The nested mappings that a file can hold."""
        return {section.key: section for section in self.sections if section.key}


def _index(settings: Iterable[Setting], names: Callable[[Setting], Iterable[str]]) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for one in settings:
        for name in names(one):
            if found.setdefault(name, one) is not one:
                raise ValueError(f"{found[name].name} and {one.name} both claim {name!r}")
    return found
