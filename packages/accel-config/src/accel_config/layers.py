"""The layers that settings are resolved from, gathered at the edge: flags, environment, file."""

from __future__ import annotations

import os

from . import environ as variables
from .errors import SettingError
from .origin import DEFAULT, ENVIRONMENT, FLAG, Origin, Value
from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .flags import Typed
    from .settings import Catalogue


class Layers(Record):
    """What each source says, strongest first, and what is to be told about them."""

    values: tuple[dict[str, Value], ...]
    notes: tuple[str, ...]
    config_file: str | None


def layers(catalogue: Catalogue, typed: Typed, environ: Mapping[str, str]) -> Layers:
    """Gather the layers of a launch: the flags, ``environ``, and the config file that they lead to.

    Raises:
        SettingError: a variable or the file holds what can't be; every finding in the file is in the message.
    """
    from_environ, notes = variables.read(catalogue, environ)
    found = [typed.values, from_environ]
    notes = [*typed.notes, *notes]
    path = config_path(found, environ)
    if path is not None:
        from .files import load

        read = load(catalogue, path)
        read.refuse()
        found.append(read.values)
        notes += map(str, read.notes)
    return Layers(tuple(found), tuple(notes), path)


def config_path(found: list[dict[str, Value]], environ: Mapping[str, str]) -> str | None:
    """Return the config file to read: the one that is named, else the default one if it is there and no --cpu is."""
    nobody = Value(None, DEFAULT)
    named = next((layer["config_file"] for layer in found if "config_file" in layer), nobody)
    if named.value is not None:
        path = os.path.expanduser(str(named.value))
        if not os.path.isfile(path):
            what = "is a folder" if os.path.isdir(path) else "doesn't exist"
            raise SettingError(f"{named.origin}: the config file {path} {what}")
        return path
    if any(layer.get("cpu", nobody).value for layer in found):
        return None
    path = default_path(environ)
    return path if os.path.isfile(path) else None


def location(catalogue: Catalogue, named: str | None, environ: Mapping[str, str]) -> tuple[str, Origin | None]:
    """Return where the config file is to be, and who says so: the flag or a variable; None: it is the default one.

    Raises:
        SettingError: the flag names none.
    """
    if named == "":
        raise SettingError("--config_file needs a path, not an empty word")
    if named is not None:
        return os.path.expanduser(named), Origin("--config_file", FLAG)
    for variable in catalogue.by_name["config_file"].variables:
        if environ.get(variable):
            return os.path.expanduser(environ[variable]), Origin(variable, ENVIRONMENT)
    return default_path(environ), None


def default_path(environ: Mapping[str, str]) -> str:
    """Return where the default config file is: below ``$HF_HOME``, else ``huggingface`` in the cache folder."""
    cache = environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    home = environ.get("HF_HOME") or os.path.join(cache, "huggingface")
    return os.path.join(os.path.expanduser(home), "accelerate", "default_config.yaml")
