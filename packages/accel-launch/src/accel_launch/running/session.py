"""A launcher process for callers that can't be one: a thread, a notebook, a program with signal handlers of its own.

The caller uses `run`, which starts this module as a program. The program reads the plan from a pipe, carries it out
exactly as the command line does, and writes events and the result to another pipe. When the pipe to it closes because
the caller died, it kills everything.
"""

from __future__ import annotations

import codecs
import os
import pickle
import signal
import subprocess  # noqa: TID251  the one process that isn't a rank
import sys
import threading
import time
from contextlib import suppress

from accel_config.errors import TIMED_OUT, AccelError
from accel_launch.ranks.system import calls
from accel_launch.running.supervising.calling_process import INTERRUPT, TIMEOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Any

    from accel_launch.planning.types import Plan
    from accel_launch.running.report.records import Event, Line, Result

LOOK = 0.1  # seconds between two looks at whether the caller wants to cancel
HEEDED = (
    2.0  # seconds for the launcher to take notice of a timeout; a slow reader of the ranks' output may hold it up
)


def run(
    plan: Plan,
    on_event: Callable[[Event], object] | None = None,
    cancel: threading.Event | None = None,
    *,
    on_line: Callable[[Line], object] | None = None,
    timeout: float | None = None,
) -> Result:
    """Run a plan to its end and return the result; callable from any thread, and in a notebook.

    A plan that is a request to a service runs in the calling process, because it starts no process here.

    Args:
        plan: A plan that `accel_launch.plan` returned, or one of your own.
        on_event: Called in the calling thread for each rank that starts or ends, and when the run stands still or
            moves again.
        cancel: Set it from another thread to end the run: ranks get SIGTERM, and are killed after the plan's grace.
            The result then has the status 143.
        on_line: Called in the calling thread for each line that a rank prints, instead of showing it here.
        timeout: Seconds after which the run is ended in the same way, once its ranks are shown: ``stacks`` of the
            result has what each did then. The result has the status 124.

    Returns:
        The result, also if the script fails.

    Raises:
        AccelError: the launcher process itself failed, or this system can't start one.
        TypeError: ``timeout`` isn't a number.
        ValueError: ``timeout`` isn't positive and finite.
        KeyboardInterrupt: the calling thread was interrupted. The ranks have got SIGINT, then the plan's grace, and
            are gone; another interrupt kills them at once.
    """
    check_timeout(timeout)
    if plan.request is not None:
        return plan.request.run()
    if why := calls.refusal(supervised=True):
        raise AccelError(why)
    if on_line is not None:
        plan = plan.replace(commands=tuple(command.unbuffered() for command in plan.commands))
    orders, order = os.pipe()
    reports, report = os.pipe()
    relays = [_relay(stream, fd) for fd, stream in ((1, sys.stdout), (2, sys.stderr))]
    child = subprocess.Popen(  # noqa: S603  our own interpreter and module
        [sys.executable, "-P", "-m", __name__, str(orders), str(report), str(int(on_line is not None))],
        stdout=relays[0].writer,
        stderr=relays[1].writer,
        pass_fds=(orders, report),
    )
    for fd in (orders, report):
        os.close(fd)
    handlers: dict[str, Callable[[Any], object]] = {"event": on_event or _ignore, "line": on_line or _ignore}
    with child, os.fdopen(order, "wb") as to_child, os.fdopen(reports, "rb") as from_child:
        try:
            pickle.dump(plan, to_child)
            to_child.flush()
            end = _End(child, order, cancel, timeout)
            result = _listen(from_child, handlers, end)
        except KeyboardInterrupt:
            _interrupt(to_child)
            _listen(from_child, {"event": _ignore, "line": _ignore}, None)
            raise
        finally:
            to_child.close()
            child.wait()
            for relay in relays:
                relay.finish()
    if result is None and end.asked is not None and child.returncode == -signal.SIGTERM:
        from accel_launch.running.report.records import Result

        # It didn't catch the signal yet, so it hadn't started anything.
        result = Result(128 + signal.SIGTERM, signal=signal.SIGTERM, at=end.asked)
    if result is None:
        raise AccelError(
            f"the launcher process ended with status {child.returncode} before it returned a result", status=1
        )
    if end.timed_out and result.signal == signal.SIGTERM:
        note = f"the run was ended after {timeout:g} s, its timeout"
        return result.replace(status=TIMED_OUT, notes=(*result.notes, note))
    return result


def check_timeout(timeout: object) -> None:
    """Check the seconds after which a run is ended.

    Raises:
        TypeError: it isn't a number.
        ValueError: it isn't positive and finite.
    """
    if timeout is None:
        return
    number: Any = timeout
    if isinstance(timeout, (bool, str, bytes)) or not hasattr(timeout, "__float__"):
        raise TypeError(f"timeout must be a number of seconds or None, not {timeout!r}")
    try:
        valid = 0 < float(number) < float("inf")
    except OverflowError:  # a whole number beyond all floats
        valid = False
    if not valid:
        raise ValueError(f"timeout must be a positive, finite number of seconds, not {timeout!r}")


def _ignore(_value: object) -> None:
    pass


def _interrupt(to_child: IO[bytes]) -> None:
    """Ask for the end as a terminal's Ctrl-C does; the process takes it once, even if a terminal sent it there."""
    try:
        to_child.write(INTERRUPT)
        to_child.flush()
    except OSError:
        pass  # it has ended already


def _listen(from_child: IO[bytes], handlers: dict[str, Callable[[Any], object]], end: _End | None) -> Result | None:
    """Pass events and lines on until the result comes; return None if it never does."""
    while True:
        try:
            kind, value = pickle.load(from_child)  # noqa: S301  our own process at the other end of our own pipe
        except (EOFError, pickle.UnpicklingError):  # also in the middle of something
            return None
        if kind == "result":
            return value
        if kind == "error":
            raise AccelError(value[0], status=value[1])
        if end is not None:
            end.begun = True
        handlers[kind](value)


class _End:
    """Asks the launcher process to end the run, once ``cancel`` is set or the time is up."""

    def __init__(
        self, child: subprocess.Popen[bytes], order: int, cancel: threading.Event | None, timeout: float | None
    ) -> None:
        self.child, self.cancel = child, cancel or threading.Event()
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.begun = False
        """Whether the launcher has started anything."""
        self.timed_out = False
        self.asked: float | None = None
        """When it asked, in seconds since the epoch."""
        if cancel is not None or timeout is not None:
            # Descriptors of its own: the calling thread may close these, and another thread get their numbers.
            threading.Thread(target=self._watch, args=(_handle(child.pid), os.dup(order)), daemon=True).start()

    def _watch(self, handle: int | None, order: int) -> None:
        while self.child.poll() is None:
            left = LOOK if self.deadline is None else min(LOOK, max(0.0, self.deadline - time.monotonic()))
            self.cancel.wait(left)
            if self.cancel.is_set() or (self.deadline is not None and time.monotonic() >= self.deadline):
                self.timed_out = not self.cancel.is_set()
                self.asked = time.time()
                if not (self.timed_out and self.begun and self._heeded(order)):
                    self._terminate(handle)
                break
        os.close(order)
        if handle is not None:
            os.close(handle)

    def _heeded(self, order: int) -> bool:
        """Tell the launcher that the time is up, so that it shows its ranks first; return whether it does."""
        import fcntl
        import termios

        with suppress(OSError):
            os.write(order, TIMEOUT)
            until = time.monotonic() + HEEDED
            while self.child.poll() is None and time.monotonic() < until and not self.cancel.is_set():
                if not any(fcntl.ioctl(order, termios.FIONREAD, bytes(4))):
                    return True
                time.sleep(LOOK / 4)
        return False

    def _terminate(self, handle: int | None) -> None:
        """Terminate the process; by a pidfd, since another thread collects it and frees its pid."""
        if handle is None:  # not Linux
            self.child.send_signal(signal.SIGTERM)
            return
        with suppress(ProcessLookupError):
            calls.send_by(handle, signal.SIGTERM)


def _handle(pid: int) -> int | None:
    try:
        return calls.open_handle(pid)
    except OSError:
        return None


class _Relay:
    """A standard stream for the child: the real one, or a pipe if the caller has replaced it, as in a notebook."""

    def __init__(self, stream: Any, writer: int | None, reader: int | None) -> None:
        self.stream, self.writer, self.reader = stream, writer, reader
        self.thread: threading.Thread | None = None
        if reader is not None:
            self.thread = threading.Thread(target=self._carry, args=(reader,), daemon=True)
            self.thread.start()

    def _carry(self, reader: int) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while data := os.read(reader, 65536):
            self.stream.write(decoder.decode(data))
            self.stream.flush()
        os.close(reader)

    def finish(self) -> None:
        """Close the child's end, and wait until all output is shown."""
        if self.thread is not None and self.writer is not None:
            os.close(self.writer)
            self.thread.join()


def _relay(stream: Any, fd: int) -> _Relay:
    try:
        stream.flush()
        real = stream.fileno() == fd
    except (AttributeError, OSError, ValueError):  # no stream, or one that isn't a file
        real = stream is None
    if real:
        return _Relay(stream, None, None)
    reader, writer = os.pipe()
    return _Relay(stream, writer, reader)


def main() -> int:
    """Read a plan, supervise it, and report events and the result."""
    from accel_launch.running.caller import Caller
    from accel_launch.running.process import leave
    from accel_launch.running.supervisor import supervise

    orders, report = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(orders, False)
    os.set_inheritable(report, False)
    with os.fdopen(orders, "rb", buffering=0) as from_caller, os.fdopen(report, "wb", buffering=0) as to_caller:
        plan: Plan = pickle.load(from_caller)  # noqa: S301
        caller = Caller(to_caller.fileno(), lines=sys.argv[3] == "1")
        try:
            result = supervise(plan, parent_fd=from_caller.fileno(), caller=caller)
        except AccelError as error:
            caller.send("error", (str(error), error.status))
            caller.flush()
            return error.status
        caller.send("result", result)
        caller.flush()
        return leave(result)


if __name__ == "__main__":
    sys.exit(main())
