"""`run`: commands on a pod, for other programs."""

from __future__ import annotations

import sys

from accel_tpu import pod as pods
from accel_tpu import shell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_launch.running.report.records import Result
    from accel_tpu.gcloud import Pod


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
    """Run a shell command on workers of a pod and return how it ended; a failing command raises nothing.

    Args:
        pod: The pod, or the VMs.
        command: The text for the login shell of each worker.
        workers: ``all``, or numbers such as ``0,3`` or ``0-3``.
        env: Variables for the command.
        sudo: Whether to run the command as root.
        together: Whether to terminate the command everywhere when it fails on one worker.
        grace: Seconds that the command has to end after SIGTERM.

    Raises:
        AccelError: gcloud or the pod can't be reached, or there is no such worker.
    """
    from accel_launch import run as carry_out

    checked = shell.variables([f"{name}={value}" for name, value in (env or {}).items()], "env")
    task = pods.Task(command, checked, sudo=sudo, together=together)
    return carry_out(pods.plan(pod, pods.workers(pod, workers), task, python=sys.executable, grace=grace))
