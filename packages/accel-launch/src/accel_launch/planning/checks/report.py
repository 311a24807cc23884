"""The file for the report: that it can't be written would otherwise be found out at the end of the run."""

from __future__ import annotations

import os

from accel_config.catalogue import Output
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings
    from accel_launch.planning.findings import Findings


def check(settings: Settings, findings: Findings, *, logs: bool = True) -> None:
    """Check that the file can be created or replaced; ``logs`` says whether the logs' folder will be on this machine.

    Raises:
        AccelError: it can't, except in a dry run.
    """
    output = settings[Output]
    path = os.path.realpath(os.path.expanduser(str(output.report)))
    folder = os.path.dirname(path)
    why = ""
    if os.path.exists(path) and not os.path.isfile(path):
        why = "it isn't a file, so it can't be replaced"
    elif not os.path.isdir(folder):
        why = "" if logs and _made(output.log_dir, folder) else f"the folder {folder} doesn't exist"
    elif not os.access(folder, os.W_OK | os.X_OK):
        why = f"the folder {folder} isn't writable"
    if why:
        findings.refuse_locally(f"{describe(settings, 'report')}: {why}")


def _made(log_dir: str | None, folder: str) -> bool:
    """Return whether the launcher creates the folder for the logs."""
    if log_dir is None:
        return False
    logs = os.path.realpath(os.path.expanduser(log_dir))
    return os.path.commonpath((folder, logs)) == folder
