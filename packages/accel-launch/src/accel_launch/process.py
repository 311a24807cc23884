"""This process at the start and at the end of a run: its streams, the command that it becomes, how it leaves."""

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


def secure_streams() -> None:
    """Open the standard streams that are closed, so that nothing of ours takes their numbers. An exec closes them."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def say(text: str) -> None:
    """Write to standard error, if it is there and somebody reads it."""
    try:
        if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison]
            sys.stderr.write(text)
            sys.stderr.flush()
    except OSError:
        pass


def become(plan: Plan) -> NoReturn:
    """Replace this process by the plan's one command, so that status, signals and output are its own.

    Raises:
        AccelError: the command can't be executed.
    """
    (command,) = plan.commands
    # Python ignores these two, and what is ignored stays so over an exec: a program that isn't Python would notice.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        if command.cwd is not None:
            os.chdir(command.cwd)
        os.execvpe(command.argv[0], command.argv, {**os.environ, **command.env})
    except OSError as error:
        status = 127 if isinstance(error, FileNotFoundError) else 126
        raise AccelError(f"{command.argv[0]} can't be started: {error.strerror}", status=status) from None


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
