"""The presets: config files of this package, one for each usual way to train."""

from __future__ import annotations

import os
import re

from accel_config.reading.files import load
from accel_config.settings.origin import FILE, Origin, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_config.settings.index import Catalogue

FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "presets")
COUNT = re.compile(r"^# (num_processes: )\d+", re.MULTILINE)


def path_of(name: str) -> str:
    """Return the path of the preset called ``name``."""
    return os.path.join(FOLDER, f"{name}.yaml")


def values(catalogue: Catalogue, name: str) -> dict[str, Value]:
    """Return the settings of the preset, with the preset as their origin."""
    read = load(catalogue, path_of(name))
    read.refuse()
    origin = Origin(f"preset {name}", FILE)
    return {key: Value(value.value, origin) for key, value in read.values.items()}


def overridden(name: str, preset: Mapping[str, Value], file: Mapping[str, Value]) -> list[str]:
    """Return a note on the settings of a preset for which the config file has other values."""
    differing = [one for one, value in preset.items() if one in file and file[one].value != value.value]
    if not differing:
        return []
    named = ", ".join(f"{one} {file[one].value} instead of {preset[one].value}" for one in differing)
    where = file[differing[0]].origin.text.rpartition(":")[0]
    return [f"{where} wins over the preset {name}: {named}; flags win over both"]


def text(name: str, processes: int) -> str:
    """Return the preset's file, with this number of processes where it leaves that open; 0: it stays open."""
    with open(path_of(name), encoding="utf-8") as file:
        found = file.read()
    return COUNT.sub(rf"\g<1>{processes}", found) if processes else found
