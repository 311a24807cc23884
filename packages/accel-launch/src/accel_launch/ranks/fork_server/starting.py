"""How forks of the parked process become a keeper, a guardian and ranks."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 15, 36
STATUS, FOLDER = 3, 4
"""The places of two descriptors among those of an order, where the launcher's side has them too."""


class Start:
    """One order of a launcher, in a fork of the parked process."""

    def __init__(self, parked: Any, order: Any, fds: list[int]) -> None:
        """Take the parked process, the order, and the descriptors that have come with it."""
        self.parked, self.order, self.fds = parked, order, fds

    def keep(self) -> int:
        """Become the keeper in this fork, and fork the guardian; return in its ranks."""
        try:
            self.parked.control.close()
            if not os.read(self.fds[STATUS], 1):  # the launcher has given up
                os._exit(0)
            self.parked.environ.restore()
            self.parked.signals.signal(self.parked.signals.SIGCHLD, self.parked.children)
            os.setsid()
            prctl = self.parked.server.prctl.prctl
            prctl(PR_SET_CHILD_SUBREAPER, 1)
            prctl(PR_SET_NAME, self.parked.name)
            guardian = os.fork()
            if guardian == 0:
                return self._guard()
            program(self.order, "keep", self.fds[STATUS], guardian, keep=(self.fds[STATUS],))
        except BaseException:
            os._exit(1)

    def _guard(self) -> int:  # noqa: RET503
        """Become the guardian in this fork, and fork the ranks; return in them."""
        os.setsid()
        os.fchdir(self.fds[FOLDER])
        place(self.order["given"], self.fds)
        refresh()
        gate, opening = os.pipe()
        pids: list[int] = []
        why = ""
        for local_rank in range(len(self.order["ranks"])):
            try:
                pid = os.fork()
            except OSError as error:
                why = f"the system starts no more processes: {error.strerror}"
                break
            if pid == 0:
                os.close(opening)
                self._hand_over(gate)
                return local_rank
            pids.append(pid)
        os.close(gate)
        forked = why or " ".join(map(str, pids))
        program(self.order, "guard", " ".join(map(str, self.fds)), opening, forked, keep=(*self.fds, opening))

    def _hand_over(self, gate: int) -> None:
        """Make the fork server, in a rank, that of this attempt."""
        server = self.parked.server
        streams: list[list[int]] = [[self.fds[int(at)] for at in one["streams"]] for one in self.order["ranks"]]
        used = {fd for own in streams for fd in own}
        for fd in set(self.fds) - used:
            os.close(fd)
        server.guardian, server.gate, server.events = os.getppid(), gate, -1
        server.ranks = [
            {"environ": one["environ"], "streams": own}
            for one, own in zip(self.order["ranks"], streams)  # noqa: B905  as of 3.10
        ]
        server.own = self.order["own"]
        server.launcher = self.order["launcher"]  # which each rank lets read what it does


def is_open(fd: int) -> bool:
    """Return whether a descriptor is open."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def place(given: dict[int, int], fds: list[int]) -> None:
    """Put descriptors at the numbers that they have in the launcher, out of whose way all others go."""
    spare: list[int] = []
    for at, fd in enumerate(fds):
        while fds[at] in given:
            spare.append(fds[at])
            fds[at] = os.dup(fd)
    for number, at in given.items():
        os.dup2(fds[at], number, inheritable=True)
    for fd in set(spare) - set(given):
        os.close(fd)


def refresh() -> None:
    """Forget which files folders held."""
    finders: dict[str, Any] = sys.path_importer_cache  # pyright: ignore[reportAssignmentType]
    for path, finder in list(finders.items()):
        if finder is None:
            del finders[path]
        elif hasattr(finder, "invalidate_caches"):
            finder.invalidate_caches()


def program(order: Any, *words: object, keep: tuple[int, ...]) -> NoReturn:
    """Become one of the launcher's programs, with these descriptors."""
    try:
        for fd in keep:
            os.set_inheritable(fd, True)
        argv = [*order["program"], *map(str, words)]
        os.execve(argv[0], argv, order["environ"])
    finally:
        os._exit(1)
