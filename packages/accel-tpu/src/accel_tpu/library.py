"""Commands on a pod, for other programs."""

from __future__ import annotations

import sys

from . import pod as pods
from . import shell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_launch.report import Result

    from .gcloud import Pod


def run(  # noqa: PLR0913
    pod: Pod,
    command: str,
    *,
    workers: str = "all",
    env: Mapping[str, str] | None = None,
    sudo: bool = False,
    together: bool = False,
    grace: float = 30.0,
) -> Result:
    """Run a shell command on workers of a pod and return how it ended; a command that fails is a result.

    Args:
        pod: What to reach.
        command: For the login shell of each worker.
        workers: ``all``, or numbers like ``0,3`` or ``0-3``.
        env: Variables for the command.
        sudo: Whether to run it as root.
        together: Whether to end it everywhere when it fails on one worker.
        grace: Seconds that it gets to end once it is asked to.

    Raises:
        AccelError: gcloud or the pod can't be reached, or a worker isn't there.
    """
    from accel_launch import run as carry

    checked = shell.variables([f"{name}={value}" for name, value in (env or {}).items()], "env")
    task = pods.Task(command, checked, sudo=sudo, together=together)
    return carry(pods.carried(pod, pods.reach(pod, workers), task, python=sys.executable, grace=grace))
