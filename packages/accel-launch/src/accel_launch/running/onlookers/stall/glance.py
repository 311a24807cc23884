"""One look at all ranks in the moment in which one of them complains: it has waited too long for another, or lost it.

The guardian ends the ranks as soon as that one is gone, so it is asked to hold that back until the look is taken. A
rank to which others have lost their connections may just be ending; how it ends is awaited as well.
"""

from __future__ import annotations

import os
import select
import time

from accel_launch.machine import forks
from accel_launch.running.guardian.orders import HOLD, RELEASE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from accel_launch.inspecting.snapshot import RankStack
    from accel_launch.inspecting.subject import Subject
    from accel_launch.running.guardian.orders import Orders
    from accel_launch.running.onlookers.stall.telling import Stall

SOON, AGAIN = 3.0, 30.0
"""Seconds after which another complaint is another occasion: while all ranks are there, and once one has ended."""
LIMIT = 8.0  # seconds for reading stacks, on a machine that is overloaded; less than the guardian waits
LEAVING = 3.0  # seconds for ranks to end that are about to: an interpreter with torch takes one
POLL = 0.02  # seconds between two looks whether they have
LAST = 1.0  # seconds to wait for a look that isn't over when the run is


class Glance:
    """Takes the look in a fork; see `Stall` for what comes of it."""

    def __init__(self, subjects: Callable[[], Sequence[Subject]], orders: Orders) -> None:
        """Take who there is, and how the guardian is asked."""
        self.subjects, self.orders = subjects, orders
        self.found: Stall | None = None
        """What was seen last."""
        self.wanted = self.lost = False
        """Whether to look, and whether that is as a connection was lost."""
        self.began = -AGAIN
        self.pid, self.reader, self.unread = 0, -1, b""

    def complained(self, lost: bool) -> None:
        """Take notice that a rank complains, maybe that it has ``lost`` its connection to another."""
        since = time.monotonic() - self.began
        again = since >= SOON and not lost  # ranks lose their connections one after the other
        new = since >= AGAIN or (again and not any(one.ended for one in self.subjects()))
        if new:
            self.wanted, self.lost = True, lost

    @property
    def recent(self) -> bool:
        """Whether a rank has complained a moment ago."""
        return time.monotonic() < self.began + AGAIN

    def step(self, poller: select.poll, ready: Sequence[tuple[int, int]]) -> None:
        """Look if there is an occasion, and read what was seen."""
        if self.wanted and not self.pid:
            self.wanted, self.began = False, time.monotonic()
            self.orders.send(HOLD)
            self._fork(poller)
        if self.pid and self.reader in dict(ready):
            self._read(poller)

    def _fork(self, poller: select.poll) -> None:
        parent, subjects, opened = os.getpid(), self.subjects(), tuple[int, ...]()
        try:
            reader, writer = opened = os.pipe()
            self.pid = forks.fork()
        except OSError:  # no process or descriptor is left; nothing is seen then
            for fd in opened:
                os.close(fd)
            self.orders.send(RELEASE)
            return
        if self.pid == 0:
            try:
                _look(parent, writer, subjects, lost=self.lost)
            finally:
                os._exit(1)
        os.close(writer)
        self.reader, self.unread = reader, b""
        poller.register(reader, select.POLLIN)

    def _read(self, poller: select.poll) -> None:
        data = os.read(self.reader, 1 << 16)
        self.unread += data
        if data:
            return
        if self.unread:
            import json

            from accel_launch.running.onlookers.stall.telling import Stall

            self.found = Stall.from_json(json.loads(self.unread))
        self._finish(poller)

    def _finish(self, poller: select.poll) -> None:
        self.orders.send(RELEASE)
        poller.unregister(self.reader)
        os.close(self.reader)
        forks.end(self.pid)
        self.pid, self.reader = 0, -1

    def close(self, poller: select.poll) -> None:
        """Come to an end, with what is still to be read."""
        end = time.monotonic() + LAST
        while self.pid and select.select([self.reader], [], [], max(0.0, end - time.monotonic()))[0]:
            self._read(poller)
        if self.pid:
            self._finish(poller)


def _look(parent: int, writer: int, subjects: Sequence[Subject], *, lost: bool) -> None:
    """Write what the ranks do; in a fork of the launcher."""
    import json

    from accel_launch.inspecting import groups, snapshot
    from accel_launch.running.onlookers.forking import become_onlooker
    from accel_launch.running.onlookers.stall.telling import Stall
    from accel_launch.running.onlookers.stall.verdict import Look, judge, key

    become_onlooker(parent, b"accel-glance", (writer,))
    until = time.monotonic() + LIMIT
    taken = snapshot.take(subjects, workers=True, limit=LIMIT)
    ending = [stack for stack in taken.ranks if lost and _ends(stack)]
    _await([stack.pid for stack in ending], min(time.monotonic() + LEAVING, until))
    verdict = judge({stack.rank: [Look(stack, False, key(stack), False)] for stack in taken.ranks})
    seen = Stall(
        at=taken.at,
        since=taken.at,
        ranks=tuple(stack.rank for stack in taken.ranks),
        groups=groups.grouped(taken.ranks),
        kinds={**verdict.kinds, **{stack.rank: "ending" for stack in ending}},
        odd=verdict.odd,
    )
    with os.fdopen(writer, "wb") as file:
        file.write(json.dumps(seen.as_json()).encode())


def _ends(stack: RankStack) -> bool:
    """Return whether a rank is about to end: it leaves the others, or nothing of its script is left to do."""
    from accel_launch.inspecting.places import DESTROYING, library

    if stack.process is None:
        return False
    frames = stack.process.main.frames if stack.process.main is not None else ()
    over = all(library(frame) and frame.function != "<module>" for frame in frames)
    return over or DESTROYING in stack.place.operations


def _await(pids: Sequence[int], until: float) -> None:
    """Wait for the end of processes that are about to end: a rank that has left tells by its status that it did."""
    from accel_launch.inspecting import kernel

    left = set(pids)
    while left and time.monotonic() < until:
        time.sleep(POLL)
        left = {pid for pid in left if (found := kernel.process(pid)) is not None and found[1] not in kernel.ENDED}
