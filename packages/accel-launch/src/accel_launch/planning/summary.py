"""The line about a run that the launcher prints first."""

from __future__ import annotations

from accel_config.catalogue import Launcher, Precision
from accel_config.catalogue.hardware import binding
from accel_config.settings.origin import SCHEDULER
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings
    from accel_launch.planning.layout import Layout
    from accel_launch.planning.types import Plan


def summary(settings: Settings, layout: Layout, plan: Plan) -> str:
    """Return the line: processes, devices, training mode, precision, engine, config file, scheduler."""
    ranks = "1 process" if layout.local == 1 else f"{layout.local} processes"
    if layout.task is not None:
        ranks = f"rank {layout.task.rank} of {layout.task.total}"
    where = f"on {layout.where}"
    if layout.task is not None and layout.task.machine is None:  # mpirun doesn't number machines
        where += ", several machines"
    elif layout.machines > 1:
        where += f", machine {layout.rank} of {layout.machines}"
    kind = f", {layout.kind}" if layout.kind != "NO" else ""
    file = settings.value("config_file").value
    config = f", config {file}" if file else ""
    preset = settings[Launcher].preset
    config += f", preset {preset}" if preset else ""
    engine = f"engine {plan.engine}"
    if plan.preload:
        engine += f", preload {', '.join(plan.preload)}"
    if any(plan.cpus):
        engine += f", bind {binding(settings)[0]}"
    precision = settings[Precision].mixed_precision
    return f"{ranks} {where}{kind}, precision {precision}, {engine}{config}{_scheduled(settings)}"


def _scheduled(settings: Settings) -> str:
    """Return the settings that come from a scheduler, each with its variable."""
    names = [
        setting.name
        for setting, value in settings
        # The summary names the engine anyway.
        if value.origin.layer == SCHEDULER and value.value is not None and setting.name != "engine"
    ]
    return f", by the scheduler: {', '.join(describe(settings, name) for name in names)}" if names else ""
