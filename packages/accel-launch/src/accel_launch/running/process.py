"""This process at the start and at the end of a run: it becomes the one command, or exits with the run's status."""

from __future__ import annotations

import os

from accel_config.errors import AccelError
from accel_launch.ranks.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

    from accel_launch.planning.types import Plan
    from accel_launch.running.report.records import Result

STDERR = 2
CARRIED = "ACCELERATE_LIFELINE_SECRET"
"""By which a scheduler's job carries the secret of the launchers. No rank gets it."""
hurried = 0
"""The signal at which a reader of our standard error was given up; see `hurry`."""


def take_secret() -> str | None:
    """Return the secret of the launchers, and remove it from what every process from here on gets."""
    return os.environ.pop(CARRIED, None)


def become(plan: Plan) -> NoReturn:
    """Replace this process by the plan's one command, which then has its own status, signals and output.

    Raises:
        AccelError: the command can't be executed.
    """
    (command,) = plan.commands
    take_secret()
    # Python ignores these two, and ignored signals stay so over an exec: a program that isn't Python would notice.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    if command.cpus:
        from accel_launch.ranks.system.prctl import bind_here

        bind_here(command.cpus)
    try:
        if command.cwd is not None:
            os.chdir(command.cwd)
        os.execvpe(command.argv[0], command.argv, {**os.environ, **command.env})
    except OSError as error:
        status = 127 if isinstance(error, FileNotFoundError) else 126
        raise AccelError(f"{command.argv[0]} can't be started: {error.strerror}", status=status) from None


def hurry(number: int, _frame: FrameType | None = None) -> None:
    """Act on a signal that comes once the run has ended: what nobody takes of our standard error is thrown away.

    A write to it that blocks goes on, to nowhere, and we die by this signal as soon as all else is done.
    """
    import select

    global hurried  # noqa: PLW0603  there is one end of the process
    poller = select.poll()
    poller.register(STDERR, select.POLLOUT)
    if not poller.poll(0):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, STDERR)
        os.close(null)
        hurried = number


def leave(result: Result) -> int:
    """Return the status to exit with; if a signal to this process ended the run, die by the same signal."""
    number = hurried or result.signal
    if number:
        if number == signal.SIGQUIT:
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        os._exit(128 + number)  # the signal has no effect on pid 1
    return result.status
