"""The launcher's end of the parked process, which has imported the modules and starts the ranks of later attempts.

The other side is in ``ranks/fork_server/parking.py``. The fork server of the first attempt leaves the process behind;
it ends with this end of its socket.
"""

from __future__ import annotations

import marshal
import os
import sys

from accel_launch.ranks import FORK_SERVER
from accel_launch.ranks.system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from accel_launch.planning.types import Command, Plan
    from accel_launch.running.attempts.preparation import Preparation
    from accel_launch.running.guardian.workload import Workload

MOST = 250  # descriptors in one message, as the other side expects
LONGEST = 4096  # bytes of an answer
ORDERS, EVENTS, STATUS, FOLDER = 1, 2, 3, 4
"""The places of descriptors among those of an order, after the order itself."""
SHUT_RDWR = 2
PATIENCE = 5.0  # seconds for the process to answer
MODULE = "accel_launch.running.guardian.preloading.program"
CODE = "import sys; sys.path[:0] = {paths!r}; from {module} import main; main()"


class Parked:
    """A process to be, or one that is there; it is never sure to be."""

    def __init__(self, plan: Plan) -> None:
        """Take over what the same launch has left, if its process is to be kept; else there is none yet."""
        self.plan = plan
        self.socket: Any = None
        self.digest = b""
        self.theirs: Any = None
        self.dropped = ""
        """Why the process that was there couldn't be used, if it has said so."""
        self.spare = -1
        """The other end, until the process has it."""
        if plan.keep_warm:
            self._take()

    def _take(self) -> None:
        from accel_launch.running.guardian.preloading import likeness, warm

        self.digest = likeness.digest(self.plan)
        self.socket, self.dropped = warm.take(self.digest, os.environ)
        if self.socket is not None:
            self.socket.settimeout(PATIENCE)

    def leave(self, say: Callable[[str], None]) -> None:
        """Let the process wait for the same launch, if it is to be kept; else end it."""
        if self.digest and self.socket is not None:
            try:
                self._stay()
            except OSError as error:
                say(f"accel: note: nothing is kept warm: {error.strerror or error}\n")
        self.close()

    def _stay(self) -> None:
        from accel_launch.running.guardian.preloading import warm

        path, made = warm.make(os.environ)
        terms = {
            "seconds": self.plan.keep_warm,
            "digest": self.digest,
            "path": path,
            "modules": list(self.plan.preload or ()),
            "ranks": len(self.plan.commands),
            "script": _script(self.plan.commands[0]),
        }
        answer = self._ask(b"stay", terms, [made.fileno()])
        made.close()
        if answer == "stays":
            warm.limit(os.environ)
        else:
            os.unlink(path)

    @property
    def descriptor(self) -> int:
        """The descriptor of our end; -1 without one."""
        return -1 if self.socket is None else self.socket.fileno()

    def offer(self) -> None:
        """Prepare for a process that the next guardian's fork server leaves behind.

        Raises:
            OSError: the system has no more descriptors.
        """
        from _socket import AF_UNIX, SOCK_SEQPACKET, socketpair  # the module around it is slow to import

        self.close()
        self.socket, self.theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE)
        self.spare = self.theirs.fileno()

    def handed_over(self) -> None:
        """Let go of the other end: whoever needs it has it."""
        if self.theirs is not None:
            self.theirs.close()
            self.theirs, self.spare = None, -1

    def start(self, work: Workload, preparation: Preparation) -> int | None:
        """Have the ranks started, with a guardian; return a descriptor that reports its end, None if that can't be.

        Raises:
            OSError: the system has no more descriptors.
        """
        if self.socket is None or not sys.executable:
            return None
        self.dropped = ""
        from _socket import AF_UNIX, SOCK_STREAM, socketpair

        ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
        where = os.open(work.spawns[0].cwd or ".", calls.FOLDER)
        fds = [preparation.guardians_orders, preparation.guardians_events, theirs.fileno(), where]
        try:
            answer = self._ask(b"start", order(work, fds), fds)
            if answer == "started":
                ours.send(b".")  # only now it goes on: a process that answers too late must not start anything
                return ours.detach()
        finally:
            os.close(where)
            theirs.close()
            ours.close()
        self.dropped = answer.partition(" ")[2]
        self.close()
        return None

    def _ask(self, kind: bytes, content: Any, fds: Sequence[int]) -> str:
        """Send a message and return the answer; an empty text if there is none."""
        memory = calls.memory_file("accel-order")
        try:
            with os.fdopen(os.dup(memory), "wb") as file:
                file.write(marshal.dumps(content, 2))  # the form that every version of Python reads
            os.lseek(memory, 0, os.SEEK_SET)
            every = [memory, *fds]
            for begin in range(0, len(every), MOST):
                self._send(b"%s %d" % (kind, len(every)), every[begin : begin + MOST])
            return self.socket.recv(LONGEST).decode(errors="replace")
        except OSError:  # it is gone, or doesn't answer
            return ""
        finally:
            os.close(memory)

    def _send(self, text: bytes, fds: Sequence[int]) -> None:
        from _socket import MSG_NOSIGNAL, SCM_RIGHTS, SOL_SOCKET

        packed = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
        self.socket.sendmsg([text], [(SOL_SOCKET, SCM_RIGHTS, packed)], MSG_NOSIGNAL)

    def close(self) -> None:
        """End the process, if there is one."""
        self.handed_over()
        if self.socket is not None:
            try:
                self.socket.shutdown(SHUT_RDWR)  # forks of the launcher may have the descriptor too
            except OSError:
                pass
            self.socket.close()
            self.socket = None


def _script(command: Command) -> str:
    """Return the script or module in a rank's command; what a program does with its words isn't known."""
    lower = 3 if command.argv[0] == "nice" else 0
    return next((word for word in command.argv[lower + 1 :] if word not in ("-u", "-m")), "")


def order(work: Workload, fds: list[int]) -> dict[str, Any]:
    """Return the order to start the ranks, after the order itself and ``fds``, to which their streams are added."""
    from accel_launch.running.guardian.preloading.fork_server import shared_and_own

    shared, own = shared_and_own(work.spawns, changing=True)
    places = {fd: 1 + place for place, fd in enumerate(fds)}
    for spawn in work.spawns:
        for fd in spawn.streams:
            if fd not in places:
                fds.append(fd)
                places[fd] = len(fds)
    given: dict[int, int] = {}
    for fd in inheritable():
        fds.append(fd)
        given[fd] = len(fds)
    ranks = [{"environ": one.environ, "streams": [places[fd] for fd in one.streams]} for one in work.spawns]
    return {
        "shared": shared,
        "own": own,
        "ranks": ranks,
        "given": given,
        "launcher": os.getpid(),
        "program": [sys.executable, "-I", "-S", "-c", CODE.format(paths=paths(), module=MODULE)],
        "environ": dict(os.environ),
        "work": {
            "argv": list(work.spawns[0].argv),
            "cwd": work.spawns[0].cwd,
            "ranks": [one.rank for one in work.spawns],
            "cpus": [one.cpus for one in work.spawns],
            "grace": work.grace,
            "ignored": sorted(map(int, work.ignored)),
            "together": work.together,
            "scratch": work.scratch,
            "debugged": work.debugged,
            "folders": list(work.folders),
        },
    }


def inheritable() -> list[int]:
    """Return the descriptors beside the standard streams that programs which this process executes get from it."""
    found: list[int] = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2 and os.get_inheritable(int(name)):  # noqa: PLR2004
                found.append(int(name))
        except OSError:
            continue  # that of the listing itself
    return found


def paths() -> list[str]:
    """Return the folders in which the launcher's programs find our packages."""
    import accel_config

    ours = os.path.dirname(os.path.dirname(os.path.dirname(FORK_SERVER)))
    return list(dict.fromkeys((ours, os.path.dirname(os.path.dirname(str(accel_config.__file__))))))
