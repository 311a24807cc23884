"""What a function's launch raises."""

from __future__ import annotations

from accel_config.errors import AccelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.report.records import Result


class LaunchError(AccelError):
    """A function that was launched failed on a rank, or its run was ended.

    Its text has the rank, the exception and the rank's traceback. Its ``__cause__`` is the exception itself, if that
    could be sent here.
    """

    result: Result
    """How the run ended."""
    rank: int | None
    """The rank that failed first; None if the run was ended from outside."""
    traceback: str
    """The traceback of that rank, as text; empty if it raised no exception, as when a signal ended it."""

    def __init__(self, message: str, result: Result, *, rank: int | None = None, traceback: str = "") -> None:
        """Keep what is known."""
        super().__init__(*message.split("\n"), status=result.status)
        self.result, self.rank, self.traceback = result, rank, traceback

    def __reduce__(self) -> tuple[object, ...]:
        """Let it be pickled, as by a process pool."""
        return _again, (type(self), str(self), self.result, self.rank, self.traceback)


class LaunchTimeout(LaunchError, TimeoutError):
    """The run took longer than its ``timeout``, and was ended."""


def _again(kind: type[LaunchError], message: str, result: Result, rank: int | None, traceback: str) -> LaunchError:
    return kind(message, result, rank=rank, traceback=traceback)
