"""The layers that settings are resolved from, gathered at the edge: flags, environment, file, preset."""

from __future__ import annotations

import os

from accel_config.errors import SettingError
from accel_config.reading import environ as variables
from accel_config.reading.places import NAME, default_path, own_path
from accel_config.record import Record
from accel_config.settings.origin import DEFAULT, ENVIRONMENT, FLAG, Origin, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_config.reading.flags import Typed
    from accel_config.settings.index import Catalogue


class Layers(Record):
    """The values of each source, strongest first, with notes on them."""

    values: tuple[dict[str, Value], ...]
    notes: tuple[str, ...]
    config_file: str | None


def layers(catalogue: Catalogue, typed: Typed, environ: Mapping[str, str]) -> Layers:
    """Gather the layers of a launch: the flags, ``environ``, and the config file and preset that they lead to.

    Raises:
        SettingError: a value in a variable or in the file isn't valid; the message has every problem of the file.
    """
    from_environ, notes = variables.read(catalogue, environ)
    found = [typed.values, from_environ]
    notes = [*typed.notes, *notes]
    path, own = config_paths(found, environ)
    file: dict[str, Value] = {}
    if path is not None or own is not None:
        from accel_config.reading.own import load_all

        read = load_all(catalogue, path or default_path(environ), own)
        read.refuse()
        file = read.values
        found.append(file)
        notes += map(str, read.notes)
    name = next((layer["preset"].value for layer in found if "preset" in layer), None)
    if name is not None:
        from accel_config.reading import presets

        preset = presets.values(catalogue, str(name))
        notes += presets.overridden(str(name), preset, file)
        found.append(preset)
    return Layers(tuple(found), tuple(notes), path)


def config_paths(found: list[dict[str, Value]], environ: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return the config file to read, and our own one beside it if the former is the default file.

    It is the named one, else the default one if it exists and neither --cpu nor a preset takes its place.

    Raises:
        SettingError: the named file doesn't exist.
    """
    absent = Value(None, DEFAULT)
    named = next((layer["config_file"] for layer in found if "config_file" in layer), absent)
    if named.value is not None:
        path = os.path.expanduser(str(named.value))
        if not os.path.isfile(path):
            what = "isn't a file" if os.path.exists(path) else "doesn't exist"
            what = "is a folder" if os.path.isdir(path) else what
            raise SettingError(f"{named.origin}: the config file {path} {what}")
        return path, own_path(path, environ)
    if any(layer.get(name, absent).value for layer in found for name in ("cpu", "preset")):
        return None, None
    path = default_path(environ)
    own = os.path.join(os.path.dirname(path), NAME)
    main = path if os.path.isfile(path) else None
    return main, own if main is not None or os.path.isfile(own) else None


def location(catalogue: Catalogue, named: str | None, environ: Mapping[str, str]) -> tuple[str, Origin | None]:
    """Return the path of the config file, and the flag or variable that names it; None if it is the default one.

    Raises:
        SettingError: the flag's path is empty.
    """
    if named == "":
        raise SettingError("--config_file needs a path, and this one is empty")
    if named is not None:
        return os.path.expanduser(named), Origin("--config_file", FLAG)
    for variable in catalogue.by_name["config_file"].variables:
        if environ.get(variable):
            return os.path.expanduser(environ[variable]), Origin(variable, ENVIRONMENT)
    return default_path(environ), None
