"""The settings of a launch from all their sources, with the scheduler between variables and config file."""

from __future__ import annotations

from accel_config import CATALOGUE, layers, resolve
from accel_config.settings.origin import SCHEDULER
from accel_launch.schedulers.readers import read, variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_config import Settings, Typed
    from accel_launch.machine.probe import Probe
    from accel_launch.schedulers.placement import Task


def settle(typed: Typed, environ: Mapping[str, str], probe: Probe) -> Settings:
    """Return the settings from flags, variables, the scheduler and the config file.

    Raises:
        SettingError: a value isn't valid, or flags contradict what the scheduler has started.
    """
    found = layers(CATALOGUE, typed, environ)
    values, notes = found.values, found.notes
    if variables(environ):
        from accel_launch.schedulers.precedence import accepted

        placed = accepted(resolve(CATALOGUE, values), environ, probe)
        values, notes = (*values[:SCHEDULER], placed.values, *values[SCHEDULER:]), (*notes, *placed.notes)
    settings = resolve(CATALOGUE, values, notes)
    if settings.value("config_file").value is None and found.config_file is not None:
        settings = settings.with_file(found.config_file)
    return settings


def task(settings: Settings, environ: Mapping[str, str], probe: Probe) -> Task | None:
    """Return the rank that this process becomes; None if `settle` didn't find it to be one."""
    taken = settings.value("engine").origin.layer == SCHEDULER
    return read(environ, probe).task if taken else None
