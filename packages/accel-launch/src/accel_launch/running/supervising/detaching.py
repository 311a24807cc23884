"""A run that goes on without its terminal: a session of its own, whose output its record keeps."""

from __future__ import annotations

import os
import signal
import sys

from accel_config.errors import FAILED, AccelError
from accel_launch.ranks.system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from accel_launch.planning.types import Plan
    from accel_launch.running.onlookers.registry.record.store import Store

STANDARD = 2  # the last of the standard streams
STARTED, END = "started", b"\0"


def detach(plan: Plan, supervise: Callable[..., int], tell: Callable[[str], None]) -> None:
    """Start a run in a process of its own; tell the run's name once its ranks start.

    If nobody gets to know the name, because of an interrupt or a full disk, the run is ended. ``supervise`` carries
    it out, with the ways of `accel_launch.running.supervisor.supervise`, and returns the status to exit with.

    Raises:
        AccelError: it can't be started.
        OSError: the name can't be told.
    """
    if plan.request is not None:
        raise AccelError("--detach: the run isn't on this machine")
    if os.getpid() == 1:
        raise AccelError("--detach: this is the first process of a container, which ends with it")
    while (spare := os.open(os.devnull, os.O_RDWR)) <= STANDARD:
        pass  # it takes the place of a standard stream that is closed
    os.close(spare)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    reader, writer = os.pipe()
    launcher = os.fork()
    if launcher == 0:
        os.close(reader)
        _go_on(plan, supervise, _Waiting(writer))
    os.close(writer)
    text = b""
    try:
        while not text.endswith(END) and (data := os.read(reader, 1 << 16)):
            text += data
        status, _, rest = text.removesuffix(END).decode(errors="replace").partition(" ")
        if status == STARTED:
            tell(rest)
            return
    except (OSError, KeyboardInterrupt):
        os.kill(launcher, signal.SIGINT)
        os.waitpid(launcher, 0)
        raise
    lines = rest.splitlines() or ["the launcher has ended before it started anything"]
    raise AccelError(*lines, status=int(status or FAILED))


def _go_on(plan: Plan, supervise: Callable[..., int], waiting: _Waiting) -> NoReturn:
    """Carry out the run, in the fork, and exit."""
    status = FAILED
    try:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(nowhere, fd)
        os.close(nowhere)
        _let_go(plan)
        status = _carried_out(plan, supervise, waiting)
    except AccelError as error:
        waiting.answer(f"{error.status} {error}")
        status = error.status
    except KeyboardInterrupt:
        pass
    except BaseException:
        sys.excepthook(*sys.exc_info())  # pyright: ignore[reportArgumentType]
    finally:
        os._exit(status)


def _let_go(plan: Plan) -> None:
    """Close what whoever started us has left open, a lock's file say, but no descriptor that a command names."""
    import fcntl

    words = {word for command in plan.commands for word in command.argv}
    for fd in map(int, os.listdir(calls.DESCRIPTORS)):
        try:
            ours = fd <= STANDARD or fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
            if not ours and not {f"/dev/fd/{fd}", f"/proc/self/fd/{fd}"} & words:
                os.close(fd)
        except OSError:
            pass  # the listing's own


def _carried_out(plan: Plan, supervise: Callable[..., int], waiting: _Waiting) -> int:
    from accel_launch.running.onlookers.registry.folder import LOST, Folder, no_folder
    from accel_launch.running.onlookers.registry.record.store import Store

    def started() -> None:
        if not waiting.answer(f"{STARTED} {folder.name}"):
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        folder = Folder.make(os.environ, plan.recording.name)
    except OSError as error:
        raise AccelError(no_folder(error), status=FAILED) from None
    try:
        store = Store(folder.path, plan.recording.output, lambda lost: folder.note(LOST, lost))
    except OSError as error:
        folder.give_up()
        raise AccelError(f"no file for the output of this run: {error.strerror}", status=FAILED) from None
    sys.stdout = sys.stderr = _Said(store)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return supervise(caller=store, folder=folder, started=started)
    except (AccelError, KeyboardInterrupt):
        folder.give_up()
        raise


class _Waiting:
    """Who waits for the start."""

    def __init__(self, writer: int) -> None:
        self.writer = writer

    def answer(self, text: str) -> bool:
        """Tell what has become of it, once; return False if nobody is there any more."""
        writer, self.writer = self.writer, -1
        if writer == -1:
            return True
        try:
            os.write(writer, text.encode(errors="replace") + END)
        except OSError:
            return False
        finally:
            os.close(writer)
        return True


class _Said:
    """What the launcher itself prints, for the record."""

    encoding = "utf-8"

    def __init__(self, store: Store) -> None:
        self.store = store

    def write(self, text: str) -> int:
        if text:
            self.store.stream.end_line()  # nobody waits for its end any more
            self.store.say(text)
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""

    def isatty(self) -> bool:
        return False
