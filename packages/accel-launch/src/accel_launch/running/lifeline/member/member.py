"""Every other machine's side of the lifeline: a connection to the main machine, made again if it breaks."""

from __future__ import annotations

import time

from accel_launch.running.lifeline.member.connection import Connection
from accel_launch.running.lifeline.member.dialing import DIAL
from accel_launch.running.lifeline.member.main_machine import MainMachine
from accel_launch.running.lifeline.member.portrayal import Portrayal
from accel_launch.running.lifeline.member.reports import Reports
from accel_launch.running.lifeline.refusals import Refusals
from accel_launch.running.lifeline.remote_failure import LOST, RemoteFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from accel_launch.running.lifeline import Lifeline


class Member:
    """Reports that this machine lives and what failed on it, and receives the end of the run."""

    def __init__(
        self,
        line: Lifeline,
        host: str,
        secret: bytes | None,
        find: Callable[[str], bytes | None] = lambda _file: None,
    ) -> None:
        """Prepare to dial the main machine. ``find`` returns the secret in a file that it names."""
        self.line = line
        self.notes: list[str] = []
        self.refusals = Refusals(self.notes)
        self.reports = Reports(line, host)
        self.connection = Connection(line, secret, find, self.refusals)
        self.wants = self.connection.wants
        self.main, self.portrayal = MainMachine(line), Portrayal(line, self.notes)
        self.missing: tuple[int, ...] | None = None
        """The machines that haven't come; None if that isn't known."""
        self.ending = self.lost = False
        """Whether the run has to end, and whether because a machine is lost."""
        self.grace = line.grace(lost=False)
        self.done = not line.port
        """Whether no more message is expected: the run is over there, or this side gave up."""
        self.first: RemoteFailure | None = None
        """The first failure anywhere, once it is known."""
        self.refused = ""
        """Why the main machine refused this one."""
        self.take: Callable[[str, dict[str, Any]], None] = lambda _kind, _message: None
        """Takes what the main machine asks about the ranks here, or tells about the run's."""

    @property
    def free(self) -> bool:
        """Whether ranks may start here: the machines have been compared, or won't be."""
        return self.portrayal.free or (self.done and not self.ending)

    @property
    def settled(self) -> bool:
        """Whether nothing is left to wait for once the run is over here."""
        if self.reports.failure is None and not self.ending:
            return self.main.lost is None or self.done
        return self.first is not None or self.done or self.main.received is None

    def handle(self, ready: Mapping[int, int]) -> None:
        """Receive what is ready."""
        for kind, message in self.connection.receive(ready):
            if kind in ("ask", "stall"):
                self.take(kind, message)
            else:
                self._receive(kind, message)
                self.portrayal.take(kind, self.connection.ready, self.reports)
        if self.connection.closed_port and self.main.due:
            self._unreachable()  # the machine answers, and its launcher doesn't listen
        if self.connection.wrong:
            (self._give_up if self.main.received is None else self.refusals.add)(self.connection.wrong)
            self.connection.wrong = ""
        if self.connection.drop_closed():
            self._disconnected()

    def tick(self) -> None:
        """Send a heartbeat, dial, and look whether the main machine lives."""
        now = time.monotonic()
        self.main.tick(now)
        if (link := self.connection.ready) is not None:
            self.reports.beat(link)
        if self.done:
            return
        if self.connection.tend(now, again=self.main.received is not None):
            self._disconnected()
        if self.main.received is None and now > self.main.patience:
            self._unreachable()
        why, ago = self.main.loss(now)
        if why:
            self._main_is_lost(why, ago)

    def started(self) -> None:
        """Take that ranks run, so all machines have come: a main machine that doesn't answer is unreachable."""
        self.main.patience = time.monotonic() + 2 * DIAL

    def ranks_ended(self, well: bool, restarting: RemoteFailure | None) -> None:
        """Take whether the ranks here have ended well, or will be restarted after a failure."""
        self.reports.set_ranks(well=well, restarting=restarting)

    def stands(self, since: float | None, *, seen: bool = True) -> None:
        """Report since when nothing moves here, by the monotonic clock; None: something does, or wasn't ``seen``."""
        self.reports.still, self.reports.seen = since, seen
        self._report_stillness()

    def _report_stillness(self) -> None:
        if (link := self.connection.ready) is not None:
            self.reports.stillness(link)

    def answer(self, number: int, groups: list[dict[str, Any]]) -> None:
        """Report what the ranks here do, as the main machine has asked."""
        if (link := self.connection.ready) is not None:
            self.reports.groups(link, number, groups)

    def failed(self, failure: RemoteFailure) -> None:
        """Report a failure here to the main machine."""
        self.reports.set_failure(failure)
        self.ending = True
        self._report()

    def over(self, failure: RemoteFailure | None) -> None:
        """Report the end of the run here, by a failure or without one."""
        self.reports.finished = True
        self._report() if failure is None else self.failed(failure)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
        self.refusals.end()

    def _receive(self, kind: str, message: dict[str, Any]) -> None:
        if kind == "refused":
            self.refused, self.ending = message["why"], True
            self._give_up()
            return
        self.main.received = time.monotonic()
        if kind in ("welcome", "beat") and message["missing"] is not None:
            self.missing = tuple(n for n in message["missing"] if n < self.line.machines)
        if kind == "proof" and (link := self.connection.ready) is not None:
            self.reports.introduce(link)
        elif kind == "welcome":
            self.main.lost, self.main.host = None, message["host"]
            self._report()
            self._report_stillness()
        elif kind == "echo":
            self.reports.clock.compare(message["sent"], message["time"])
        elif kind == "end":
            self.ending, self.lost = True, bool(message.get("lost"))
            self.grace = min(float(message["grace"]), self.grace)
        elif kind == "note":
            self.notes.append(message["text"])
        elif kind == "verdict":
            self.first = RemoteFailure.read(message["failure"])
        elif kind == "done":
            self.done = True

    def _report(self) -> None:
        if (link := self.connection.ready) is not None:
            self.reports.end(link)

    def _disconnected(self) -> None:
        if self.main.received is not None and not self.done and self.main.lost is None:
            self.main.lost = time.monotonic()

    def _main_is_lost(self, why: str, ago: float) -> None:
        self.done = True
        if self.first is None:
            cause = f"machine 0, the main one,{LOST}{why}"
            lost = RemoteFailure(0, self.main.host, self.reports.clock.now() + ago, 1, cause)
            own = self.reports.failure
            self.first = lost if own is None or lost.at <= own.at else own
            self.lost = self.first is lost
        self.ending, self.grace = True, self.line.grace(lost=True)

    def _unreachable(self) -> None:
        self._give_up(f"the main machine's launcher can't be reached at {self.line.meeting_place}")

    def _give_up(self, why: str = "") -> None:
        self.done = True
        if why:
            self.notes.append(f"{why}; this machine may notice a failure on another one late, or not at all")
        if self.connection.link is not None:
            self.connection.link.open = False
