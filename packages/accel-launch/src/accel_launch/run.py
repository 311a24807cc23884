"""Executing a plan: becoming its one command, or looking after its commands to their end."""

from __future__ import annotations

import os
import signal
import sys

from accel_config.errors import AccelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .plan import Plan
    from .report import Result


def run(plan: Plan) -> Result:
    """Run a plan that is to be supervised and return how it ended.

    Raises:
        AccelError: a command can't be started at all.
    """
    from .supervisor import supervise

    return supervise(plan)


def become(plan: Plan) -> NoReturn:
    """Replace this process by the plan's one command, so that status, signals and output are its own.

    Raises:
        AccelError: the command can't be executed.
    """
    (command,) = plan.commands
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # pyright: ignore[reportUnnecessaryComparison]
            stream.flush()
    # Python ignores these two, and what is ignored stays so over an exec: a program that isn't Python would notice.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        if command.cwd is not None:
            os.chdir(command.cwd)
        os.execvpe(command.argv[0], command.argv, {**os.environ, **command.env})
    except OSError as error:
        raise AccelError(f"{command.argv[0]} can't be started: {error.strerror}") from None


def leave(result: Result) -> int:
    """Return the status to exit with; where a signal to us ended the run, die by that same signal."""
    if result.signal:
        if result.signal == signal.SIGQUIT:
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(result.signal, signal.SIG_DFL)
        os.kill(os.getpid(), result.signal)
        os._exit(128 + result.signal)  # as pid 1 the signal does nothing to us
    return result.status
