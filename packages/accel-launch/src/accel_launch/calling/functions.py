"""A function on its way to the ranks, and what it returned or raised on its way back.

Both are pickles in a folder that only this user can enter, and that is removed at the end.
"""

from __future__ import annotations

import linecache
import os
import pickle
import sys
from tempfile import TemporaryDirectory

from accel_config.errors import TIMED_OUT, AccelError
from accel_config.showing.printable import one_line
from accel_launch.calling.errors import LaunchError, LaunchTimeout
from accel_launch.inspecting.groups import Group, line
from accel_launch.ranks import function as program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from accel_launch.planning.types import Plan
    from accel_launch.running.report.records import Result


class Call:
    """A function with its arguments, in a folder of its own."""

    def __init__(self, function: Callable[..., object], args: Sequence[object], named: Mapping[str, object]) -> None:
        """Write them.

        Raises:
            AccelError: they can't be pickled.
        """
        pickled = _pickled(function, (function, tuple(args), dict(named)))
        self._folder = TemporaryDirectory(prefix="accel-call-")  # made with the mode 0700
        self.script = (program.__file__, self._folder.name)
        path = [os.path.abspath(entry) if entry else os.getcwd() for entry in sys.path]
        with open(os.path.join(self._folder.name, program.CALL), "xb") as file:
            pickle.dump((path, sys.argv, _cells()), file)
            file.write(pickled)

    def __enter__(self) -> Call:
        """Return this."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Remove the folder."""
        self._folder.cleanup()

    def returned(self, plan: Plan, result: Result) -> list[Any]:
        """Return what the function returned on each rank of this machine, in the order of the ranks.

        Raises:
            LaunchError: it failed, or the run was ended.
        """
        if result.status or result.signal:
            raise self._error(result) from self._cause(result)
        ranks = sorted(int(name.rpartition("-")[2]) for name in self._names(program.RETURNED))
        places = max(len(plan.devices), 1)
        if not set(ranks) - set(range(plan.first_rank, plan.first_rank + places)):
            ranks = list(range(plan.first_rank, plan.first_rank + places))
        return [self._read(program.RETURNED, rank) for rank in ranks]

    def _names(self, kind: str) -> list[str]:
        names = os.listdir(self._folder.name)
        return [name for name in names if name.startswith(f"{kind}-") and not name.endswith(".part")]

    def _read(self, kind: str, rank: int) -> Any:
        """Return the object in a rank's file; None where it left none."""
        try:
            with open(os.path.join(self._folder.name, f"{kind}-{rank}"), "rb") as file:
                return pickle.load(file)  # noqa: S301  our own ranks, in our own folder
        except FileNotFoundError:
            return None

    def _raised(self, result: Result) -> tuple[str, str, bytes]:
        """Return what is known about the exception of the rank that failed first."""
        left = [int(name.rpartition("-")[2]) for name in self._names(program.RAISED)]
        if result.failure is None or not left:
            return "", "", b""
        rank = result.failure.ending.rank
        # One process alone isn't given a rank: it may have inherited one, if this process is a rank itself.
        return self._read(program.RAISED, rank if rank in left or len(left) > 1 else left[0]) or ("", "", b"")

    def _error(self, result: Result) -> LaunchError:
        if result.status == TIMED_OUT and result.failure is None:
            why = result.notes[-1] if result.notes else "the run took too long"
            return LaunchTimeout("\n".join((why, *map("  {}".format, _doing(result)))), result)
        if (failure := result.failure) is None:
            why = "; ".join(result.problems) or f"status {result.status}"
            return LaunchError(f"the run was ended: {why}", result)
        named, text, _sent = self._raised(result)
        rank = failure.ending.rank
        message = f"rank {rank}: {named or failure.exception or one_line(failure.cause)}"
        return LaunchError(f"{message}\n\n{text}".rstrip(), result, rank=rank, traceback=text)

    def _cause(self, result: Result) -> BaseException | None:
        """Return the rank's exception; None if it couldn't be sent, or can't be made again here."""
        _named, _text, sent = self._raised(result)
        try:
            found = pickle.loads(sent) if sent else None  # noqa: S301  as above
        except Exception:  # whatever the exception's own code raises
            return None
        return found if isinstance(found, BaseException) else None


def _doing(result: Result) -> list[str]:
    """Return what the ranks did when the time was up, a line for those that did the same."""
    seen = next((seen for seen in result.stacks if seen["why"] == "timeout"), None)
    return [] if seen is None else [line(Group.from_json(group), len(seen["ranks"])) for group in seen["groups"]]


def _pickled(function: Callable[..., object], call: object) -> bytes:
    """Return the call as a pickle: functions of modules by their names, those of `__main__` by value.

    Raises:
        AccelError: it can't be pickled, or that needs a package that isn't installed.
    """
    name = getattr(function, "__qualname__", type(function).__name__)
    try:
        by_value: Any = __import__("cloudpickle")
    except ModuleNotFoundError:
        by_value = None
    try:
        if by_value is not None:
            return by_value.dumps(call)
        pickled = pickle.dumps(call)
    except Exception as error:  # __reduce__ may raise anything
        raise AccelError(_refusal(name, str(error), by_value=by_value is not None)) from error
    if b"__main__" in pickled:
        raise AccelError(_refusal(name, "it belongs to the program that is running", by_value=False))
    return pickled


def _refusal(name: str, reason: str, *, by_value: bool) -> str:
    if by_value:
        return f"{name} and its arguments can't be sent to the ranks: {reason}"
    from accel_config.showing.installing import command

    way_out = f"run: {command('accel-launch[functions]')}, or move it to a module of its own"
    return f"{name} and its arguments can't be sent to the ranks without cloudpickle: {reason}; {way_out}"


def _cells() -> dict[str, object]:
    """Return the sources that no file has, such as a notebook's cells: tracebacks of ranks show their lines."""
    return {name: entry for name, entry in linecache.cache.items() if len(entry) > 1 and not os.path.exists(name)}
