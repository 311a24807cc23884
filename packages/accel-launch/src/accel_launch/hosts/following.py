"""A run on all machines, from the word to start to one result."""

from __future__ import annotations

import signal
import time

from accel_config.errors import LATER, READER_GONE, AccelError
from accel_launch.hosts import outcome
from accel_launch.hosts.link import DRAIN
from accel_launch.ranks.signals import ENDING
from accel_launch.running.onlookers.registry.record.states import RUNNING
from accel_launch.running.report.records import Result
from accel_launch.running.supervising.signal_handling import SignalHandling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_launch.hosts.gathering import Crew
    from accel_launch.hosts.link import Link
    from accel_launch.running.lifeline.remote_failure import RemoteFailure
    from accel_launch.running.onlookers.registry.record.recorder import Recorder

LAST = 3.0  # seconds for ssh to end by itself once its way there is closed
SENT = frozenset((*ENDING, signal.SIGUSR1, signal.SIGUSR2))


class Run:
    """Carries output, signals and signs of life; ends all machines when one has failed."""

    def __init__(self, crew: Crew, *, limit: float, grace: float, alone: bool) -> None:
        """Follow ``crew``.

        Args:
            crew: The machines, whose launchers wait for the word to start.
            limit: Seconds that a failure leaves the other machines.
            grace: Seconds that ranks have to end after a signal.
            alone: Whether the launchers don't know of each other's failures.
        """
        self.crew, self.limit, self.grace, self.alone = crew, limit, grace, alone
        self.signals = SignalHandling(self, self._failed, lambda: None)  # pyright: ignore[reportArgumentType]
        self.record: Recorder | None = None
        """The record of the run, if it is detached."""
        self.begun = False
        """Whether the ranks have started on each machine."""
        self.lost: RemoteFailure | None = None
        """The first connection that ended without a result, if that was the first thing that went wrong."""
        self.wrong = False
        self.told: dict[Link, outcome.Told | None] = {}
        """The result of each machine; None for one that no launcher of ours sends."""
        self.until: float | None = None
        """When the machines that still run are cut off, in monotonic seconds."""
        self.moved = time.monotonic()

    def send(self, order: int) -> None:
        """Send a signal to every machine; safe in a signal handler."""
        if order in SENT:
            for link in self.crew.links:
                link.send(bytes([order]))

    def _failed(self) -> bool:
        return self.wrong

    def follow(self, started: Callable[[], None] = lambda: None) -> Result:
        """Start the ranks, and follow them to the end; call ``started`` once they have started everywhere.

        Raises:
            AccelError: a machine has started nothing.
        """
        self.signals.start()
        if self.record is not None:
            self.signals.noted_by(self.record.signal)
            self.record.ranks.channels = {link.place.rank: (link.out,) for link in self.crew.links}
        for link in self.crew.links:
            link.run()
        while any(self._lives(link) for link in self.crew.links):
            self.step()
            self._begin(started)
        self.moved = time.monotonic()
        while self.crew.router.waiting and (not self.signals.hurried or time.monotonic() < self.moved + DRAIN):
            self.step()
        self.signals.rest(unread=self.crew.router.waiting)
        result = self._result()
        started()
        caller = self.crew.router.caller
        return result if self.record is None else self.record.end(result, caller.failure if caller else "")

    def _begin(self, started: Callable[[], None]) -> None:
        if not self.begun and all({"alive", "result"} & link.said.keys() for link in self.crew.links):
            self.begun = True
            if self.record is not None:
                self.record.states.now = RUNNING
            started()

    def step(self) -> None:
        """Wait for something, and act on it."""
        due = DRAIN if self.until is None else min(DRAIN, self.until - time.monotonic())
        if self.crew.turn(max(0.0, due)):
            self.moved = time.monotonic()
            if self.record is not None and any(link.out.written for link in self.crew.links):
                self.record.prints()
        if self.record is not None:
            self.record.step()
        for link in self.crew.links:
            link.check()
            self._look(link)
        if self.crew.router.gone and not self.signals.first:
            self.signals.terminate()
        if self.signals.first and self.until is None:
            self.until = time.monotonic() + self.grace + self.limit
        if self.until is not None and time.monotonic() >= self.until:
            self._cut_off()

    def _lives(self, link: Link) -> bool:
        """Return whether there is more to come; output that only strangers hold open is given up."""
        if link.status is None:
            return True
        blocked = any(channel.blocked for channel in self.crew.router.channels.open.values())
        waits = (blocked and not self.signals.hurried) or time.monotonic() < self.moved + DRAIN
        return link.reading and waits

    def _look(self, link: Link) -> None:
        """Notice the first thing that goes wrong."""
        if link.refusal[0] and not self.wrong:  # it has started nothing, and the others wait for it
            self.wrong, self.until = True, time.monotonic()
        if link not in self.told and "result" in link.said:
            self.told[link] = outcome.read(link.said["result"], link.host, link.place.rank)
        told = self.told.get(link)
        if self.wrong or (told is None and link.status is None) or (told is not None and told.status in (0, LATER)):
            return
        if told is None:
            if link.reading and time.time() < link.ended_at + DRAIN:
                return
            self.lost = None if self.signals.first else outcome.lost(link)
        if self.lost is not None or (told is not None and told.failure is not None and told.failure.lost):
            self.lost = outcome.cut_off(self.crew.links, self.told, time.monotonic()) or self.lost
        self.wrong = True
        self.until = time.monotonic() + self.limit
        if self.alone or (told is None and not self.begun):  # machines that haven't met yet can't learn of it
            self.send(signal.SIGTERM)

    def _cut_off(self) -> None:
        """Close the ways to all machines; kill what holds on."""
        if all(link.input == -1 for link in self.crew.links):
            for link in self.crew.links:
                link.kill()
        for link in self.crew.links:
            link.hang_up()
        self.until = time.monotonic() + LAST

    def _result(self) -> Result:
        told = {link.name: one for link in self.crew.links if (one := self.told.get(link)) is not None}
        ended_by = self.signals.ended_by
        status, lines = max(link.refusal for link in self.crew.links)
        if not ended_by and status:
            raise AccelError(*lines, status=status)
        if not ended_by:
            return outcome.combined(told, self.lost)
        endings, notes = outcome.endings(told), outcome.by_machine({name: one.notes for name, one in told.items()})
        known = outcome.elsewhere(told.values())
        result = Result(
            128 + ended_by, signal=ended_by, at=self.signals.at, endings=endings, notes=notes, elsewhere=known
        )
        if self.crew.router.gone:
            return result.replace(status=READER_GONE, signal=0, problems=self.crew.router.unwritable)
        return result
