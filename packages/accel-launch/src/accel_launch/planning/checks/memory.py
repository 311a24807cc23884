"""The memory of the devices: accel-cli, which has the estimate, registers the check as an entry point."""

from __future__ import annotations

from accel_config.errors import AccelError
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings
    from accel_launch.planning.findings import Findings
    from accel_launch.planning.layout import Layout

GROUP, NAME = "accel_launch.checks", "memory"


def check(settings: Settings, layout: Layout, findings: Findings, *, job: bool) -> None:
    """Reject a run that needs more memory than the devices have even at best; note one that is expected to.

    Raises:
        AccelError: it can't fit, except in a dry run; the estimate fails, or accel-cli is missing.
    """
    if job:  # its devices aren't here
        findings.notes.append(f"{describe(settings, 'check_memory')} has no effect: a job's devices are elsewhere")
        return
    from importlib.metadata import entry_points

    entry = next(iter(entry_points(group=GROUP, name=NAME)), None)
    if entry is None:
        from accel_config.showing.installing import command

        raise AccelError(f"{describe(settings, 'check_memory')} needs accel-cli: {command('accel-cli')}")
    refusal, notes = entry.load()(settings, layout)
    findings.notes += notes
    if refusal:
        findings.refuse_locally(refusal)
