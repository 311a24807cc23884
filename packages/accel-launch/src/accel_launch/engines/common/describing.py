"""What this launcher tells of its machine, so that the main one notices what differs."""

from __future__ import annotations

from accel_config.catalogue import Launcher, Output, Rendezvous, Scheduler
from accel_config.showing.masking import shown
from accel_launch.planning import target
from accel_launch.running.lifeline.sameness.subject import Subject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.engines.context import LaunchContext

# What differs between machines by its nature, is compared elsewhere, or concerns the launcher's own output.
OWN = frozenset(
    (
        *("machine_rank", "main_process_ip", "num_machines", "num_processes", "nproc_per_node", "gpu_ids", "bind"),
        *("config_file", "preset", "python", "quiet", "debug", "allow_difference", "lifeline_secret_file", "run_id"),
    )
)


def subject(context: LaunchContext) -> Subject:
    """Return what planning knows of this machine."""
    settings, host = context.settings, context.host
    launcher = settings[Launcher]
    given = {
        one.name: str(shown(one, value))
        for one, value in settings
        if value.value != one.default and one.section not in (Output, Scheduler) and one.name not in OWN
    }
    return Subject(
        python=target.interpreter(settings, host),
        words=context.script,
        how="program" if launcher.no_python else "module" if launcher.module else "script",
        folder=host.cwd,
        settings=given,
        where="CPU" if context.layout.cpu or not host.devices else host.devices[0].kind,
        devices=tuple(device.model or device.kind for device in host.devices),
        driver=host.driver,
        allowed=settings[Rendezvous].allow_difference,
    )
