"""A launcher process of its own, for callers that can't be one: a thread, a notebook, a program with its own signals.

The caller's end is `run`. The other end is this module started as a program: it reads the plan from a pipe, looks
after it exactly as the command line does, and writes events and the result back. When the pipe to it closes, because
the caller died, it ends everything.
"""

from __future__ import annotations

import codecs
import os
import pickle
import signal
import subprocess  # noqa: TID251  the one process that isn't a rank
import sys
import threading

from accel_config.errors import AccelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Any

    from .plan import Plan
    from .report import Event, Result

LOOK = 0.1  # seconds between two looks at whether the caller wants to cancel


def run(
    plan: Plan,
    on_event: Callable[[Event], None] | None = None,
    cancel: threading.Event | None = None,
) -> Result:
    """Run a plan to its end and return how it ended; callable from any thread, and from a notebook.

    A plan that is a request is made by the caller itself: nothing of it runs here that would have to be ended.

    Args:
        plan: What `accel_launch.plan` returned, or one that you made.
        on_event: Called for each rank that starts and each that ends, in the calling thread.
        cancel: Set it from elsewhere to end the run: ranks get SIGTERM, and after the plan's grace they are killed.
            The result then has the status 143.

    Returns:
        The result: a script that fails is one, not an exception.

    Raises:
        AccelError: the launcher's process itself broke.
    """
    if plan.request is not None:
        return plan.request.run()
    orders, order = os.pipe()
    told, tell = os.pipe()
    relays = [_relay(stream, fd) for fd, stream in ((1, sys.stdout), (2, sys.stderr))]
    child = subprocess.Popen(  # noqa: S603  our own interpreter and module
        [sys.executable, "-m", __name__, str(orders), str(tell)],
        stdout=relays[0].writer,
        stderr=relays[1].writer,
        pass_fds=(orders, tell),
    )
    for fd in (orders, tell):
        os.close(fd)
    with child, os.fdopen(order, "wb") as to_child, os.fdopen(told, "rb") as from_child:
        try:
            pickle.dump(plan, to_child)
            to_child.flush()
            result = _listen(from_child, child, on_event, cancel)
        finally:
            to_child.close()
            child.wait()
            for relay in relays:
                relay.finish()
    if result is None:
        raise AccelError(f"the launcher's process ended with status {child.returncode} before it said how", status=1)
    return result


def _listen(
    from_child: IO[bytes],
    child: subprocess.Popen[bytes],
    on_event: Callable[[Event], None] | None,
    cancel: threading.Event | None,
) -> Result | None:
    """Take events until the result comes; None if there is none."""
    if cancel is not None:
        threading.Thread(target=_cancel, args=(cancel, child), daemon=True).start()
    while True:
        try:
            kind, value = pickle.load(from_child)  # noqa: S301  our own process at the other end of our own pipe
        except EOFError:
            return None
        if kind == "result":
            return value
        if kind == "error":
            raise AccelError(value[0], status=value[1])
        if on_event is not None:
            on_event(value)


def _cancel(cancel: threading.Event, child: subprocess.Popen[bytes]) -> None:
    while child.poll() is None:
        if cancel.wait(LOOK):
            child.send_signal(signal.SIGTERM)
            return


class _Relay:
    """Our standard stream for the child: the real one, or a pipe where the caller shows its own (a notebook)."""

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
        """Let go of the child's end and wait until everything is shown."""
        if self.thread is not None and self.writer is not None:
            os.close(self.writer)
            self.thread.join()


def _relay(stream: Any, fd: int) -> _Relay:
    try:
        stream.flush()
        real = stream.fileno() == fd
    except (AttributeError, OSError, ValueError):  # none, or one of the caller's own making
        real = stream is None
    if real:
        return _Relay(stream, None, None)
    reader, writer = os.pipe()
    return _Relay(stream, writer, reader)


def main() -> int:
    """Be the launcher: read a plan, supervise it, tell."""
    from .process import leave
    from .supervisor import supervise

    orders, tell = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(orders, False)
    os.set_inheritable(tell, False)
    with os.fdopen(orders, "rb", buffering=0) as from_caller, os.fdopen(tell, "wb", buffering=0) as to_caller:
        plan: Plan = pickle.load(from_caller)  # noqa: S301
        try:
            result = supervise(
                plan,
                leash=from_caller.fileno(),
                tell=lambda event: to_caller.write(pickle.dumps(("event", event))),
            )
        except AccelError as error:
            to_caller.write(pickle.dumps(("error", (str(error), error.status))))
            return error.status
        to_caller.write(pickle.dumps(("result", result)))
        return leave(result)


if __name__ == "__main__":
    sys.exit(main())
