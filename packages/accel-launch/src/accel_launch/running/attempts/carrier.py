"""The supervisor's loop: output and events up while an attempt runs, and what else comes, between attempts too."""

from __future__ import annotations

import select
import time

from accel_launch.running.supervising.calling_process import CallingProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.planning.types import Plan
    from accel_launch.running.attempts.attempt import Attempt
    from accel_launch.running.guardian.handle import GuardianHandle
    from accel_launch.running.lifeline.watch import Watch
    from accel_launch.running.onlookers.onlookers import Onlookers
    from accel_launch.running.output.router import OutputRouter
    from accel_launch.running.supervising.signal_handling import SignalHandling

DRAIN = 1.0  # seconds without progress after which streams are given up that only strangers can still write to


class Carrier:
    """Waits for what is the run's, and for what is an attempt's while it runs."""

    def __init__(
        self,
        plan: Plan,
        output: OutputRouter,
        signals: SignalHandling,
        onlookers: Onlookers,
        caller: int | None,
    ) -> None:
        """Take the parts of the run, and the descriptor of the process that has called us, if there is one."""
        self.plan, self.output, self.signals, self.onlookers = plan, output, signals, onlookers
        self.calling = CallingProcess(caller, signals.orders, signals, plan.display.alive)
        self.watch: Watch | None = None
        """The connection with the run's other machines."""
        self.poller = select.poll()
        self.moved = 0.0
        """When something last came or went, in monotonic seconds."""
        self.calling.register(self.poller)

    def carry(self, attempt: Attempt, guardian: GuardianHandle) -> None:
        """Carry output and events until the guardian is gone and all that the ranks wrote is read."""
        self.poller.register(attempt.reader.fd, select.POLLIN)
        self.moved = time.monotonic()
        while attempt.listening or self._draining():
            ready = self.wait(attempt.due if attempt.listening else DRAIN, attempt.patience.left(self.signals))
            if attempt.reader.fd in dict(ready):
                attempt.hear(self.poller, guardian, self.onlookers)
            attempt.announcement.look(attempt.pids, self.output.print)
            attempt.patience.look(self.signals, attempt.running, self.output.print)
            self.turn(ready)
            if self.calling.gone and attempt.listening:
                guardian.wake()
            attempt.look()
            ended_at = time.time() if self.output.gone else self.onlookers.standstills.ended_at
            attempt.asked = attempt.asked or ended_at
            ends = ended_at is not None or (self.watch is not None and self.watch.ending)
            # After a standstill a signal ends nothing by itself, but the ranks have got it all the same.
            told = self.signals.first if attempt.stalled else self.signals.ended_by
            if ends and (told or self.onlookers.before_end(self.poller, self.watch)):
                grace = None if self.watch is None else min(self.plan.grace, self.watch.side.grace)
                attempt.stopping.stop(attempt.started, signalled=bool(told), grace=grace)

    def write_out(self) -> None:
        """Write all that waits: a slow reader is waited for, unless an end is asked for."""
        self.moved = time.monotonic()
        while self.output.waiting and (not self._hurried or time.monotonic() < self.moved + DRAIN):
            self.turn(self.wait(DRAIN))

    @property
    def called_off(self) -> bool:
        """Whether nobody is there for another attempt."""
        return bool(self.output.gone or self.calling.gone)

    @property
    def _hurried(self) -> bool:
        return bool(self.signals.hurried or self.calling.gone)

    def _draining(self) -> bool:
        """Return whether output of ranks is on its way."""
        channels = self.output.channels.open.values()
        if any(channel.blocked for channel in channels) and not self._hurried:
            return True
        return bool(channels) and time.monotonic() < self.moved + DRAIN

    def turn(self, ready: list[tuple[int, int]]) -> None:
        """Do what is ready, or due."""
        self.calling.step(self.poller, ready)
        if self.calling.timed_out and (self.signals.first or self.onlookers.shown_at_timeout(self.poller)):
            self.calling.timed_out = False
            self.signals.terminate()
        if self.output.handle(self.poller, ready):
            self.onlookers.printed()
        self.onlookers.step(self.poller, ready)
        if self.watch is not None:  # also while a slow reader holds us up: the other machines must see us alive
            self.watch.step(self.poller, ready)

    def wait(self, due: float, other: float | None = None) -> list[tuple[int, int]]:
        """Wait for ``due`` seconds at most, without an end if that is negative, and no longer than ``other``."""
        dues = [self.output.overdue(), self.onlookers.due, self.calling.due, due if due >= 0 else None, other]
        if self.watch is not None:
            dues.append(self.watch.due)
        first = min((each for each in dues if each is not None), default=-1.0)
        self.output.register(self.poller)  # only now: what was overdue has to be written
        if self.onlookers.stall is not None:
            self.onlookers.stall.hold(self.output.held)
        ready = self.signals.wait(self.poller, first)
        if ready:
            self.moved = time.monotonic()
        return ready
