"""The environment: settings that are read from it, and the variables that scripts get."""

from __future__ import annotations

from accel_config.settings.origin import ENVIRONMENT, Origin, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from accel_config.settings.index import Catalogue
    from accel_config.settings.resolved import Settings

PREFIX = "ACCELERATE_LAUNCH_"


def read(catalogue: Catalogue, environ: Mapping[str, str]) -> tuple[dict[str, Value], list[str]]:
    """Return the values of ``ACCELERATE_LAUNCH_<NAME>`` variables, and notes on those that name no setting.

    An empty variable is ignored; commas separate the items of a list.

    Raises:
        SettingError: the value of a variable isn't valid.
    """
    values: dict[str, Value] = {}
    notes: list[str] = []
    for one in catalogue.settings:
        variable = next((name for name in one.variables if environ.get(name)), None)
        if variable is None:
            continue
        raw: object = environ[variable]
        if one.many and not one.default:
            raw = one.listed(environ[variable])
        elif one.kind is dict:
            raw = _mapping(environ[variable])
        values[one.name] = Value(one.parse(raw, Origin(variable, ENVIRONMENT)), Origin(variable, ENVIRONMENT))
        if one.deprecated:
            notes.append(f"{variable} has no effect: {one.deprecated}")
    prefixed = [name for name in environ if name.startswith(PREFIX) and environ[name]]
    for name in prefixed:
        if name.removeprefix(PREFIX).lower() not in catalogue.by_name:
            from accel_config.errors import nearest

            known = (PREFIX + setting.upper() for setting in catalogue.by_name)
            notes.append(f"{name} has no effect: there is no such setting{nearest(name, known)}")
    return values, notes


def _mapping(text: str) -> object:
    import json

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def exported(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield each variable that the script gets for a setting in force: its name, its text, the setting's origin."""
    for section in settings.catalogue.sections:
        if section.active is not None and not section.active(settings):
            continue
        if section.mark:
            yield section.mark, "true", section.title
        for one in section.settings:
            value = settings.value(one.name)
            if one.env and value.value is not None and (one.exported is None or one.exported(settings)):
                for name, text in one.spell(value.value).items():
                    yield name, text, value.origin.text
