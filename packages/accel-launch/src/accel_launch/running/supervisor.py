"""The launcher while it looks after ranks: signals down to the guardian, output and events up, one result."""

from __future__ import annotations

import errno
import os

from accel_config.errors import AccelError
from accel_launch.ranks.signals import signal
from accel_launch.ranks.system import calls
from accel_launch.running.attempts.attempt import Attempt
from accel_launch.running.attempts.starting import step_back
from accel_launch.running.guardian.handle import GuardianHandle
from accel_launch.running.guardian.orders import Orders
from accel_launch.running.output.router import OutputRouter
from accel_launch.running.process import take_secret
from accel_launch.running.supervising.signal_handling import SignalHandling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_launch.planning.types import Plan
    from accel_launch.running.caller import Caller
    from accel_launch.running.guardian.preloading.parked import Parked
    from accel_launch.running.onlookers.registry.folder import Folder
    from accel_launch.running.report.observation import Observation
    from accel_launch.running.report.records import Event, Result
    from accel_launch.running.restarting.judge import Verdict

LOOK = 0.2  # seconds between two looks at whether a file has appeared


def supervise(
    plan: Plan,
    *,
    parent_fd: int | None = None,
    caller: Caller | None = None,
    folder: Folder | None = None,
    started: Callable[[], None] = lambda: None,
) -> Result:
    """Run the plan's commands to their end and return the result; only in the main thread of a launcher process.

    At the end of file of ``parent_fd`` everything is killed, and a byte from it interrupts the run. The ``caller`` is
    sent an event when a rank starts or ends. The run's ``folder`` may have been made; ``started`` is called when its
    ranks start.

    Raises:
        AccelError: a folder for log files, or the ranks' streams, can't be made; or a run of this name is running.
    """
    if plan.recording.name and folder is None:
        from accel_launch.running.onlookers.registry.folder import claim

        folder = claim(os.environ, plan.recording.name)
    return Supervisor(plan, parent_fd, caller, folder).run(started)


class Supervisor:
    """Runs attempts, one after the other, and judges each once nothing is left of it."""

    def __init__(self, plan: Plan, parent_fd: int | None, caller: Caller | None, folder: Folder | None) -> None:
        """Take what to run."""
        self.plan, self.parent_fd, self.caller, self.folder = plan, parent_fd, caller, folder
        self.notify: Callable[[Event], object] = lambda event: self.record.event(event)  # noqa: PLW0108  it is made later
        self.parked: Parked | None = None
        self.orders = Orders()
        self.closed: Result | None = None
        """The result of the last attempt, if that was let go of and no other one could be started."""

    def run(self, started: Callable[[], None]) -> Result:
        """Run to the end."""
        self.secret = take_secret()
        self.guardian = GuardianHandle(self.parent_fd)
        if calls.ADOPTS and self.plan.preload and (self.plan.restarting.most or self.plan.keep_warm):
            from accel_launch.running.guardian.preloading.parked import Parked

            self.parked = Parked(self.plan)
        resize = lambda: self.output.channels.resize()  # noqa: E731, PLW0108  those of the attempt of the day
        try:
            self.signals = SignalHandling(self.orders, lambda: self.attempt.lost, resize)
            self.output = OutputRouter(self.plan.display, self.caller)
            _give_terminal(self)
            self.attempt = self._prepared(self.plan, 0)
        except OSError as error:
            raise AccelError(f"{_missing(self.plan, error)}; nothing was started") from None
        self.signals.start()
        self._fork(() if self.folder is None else (self.folder.held,))
        started()
        step_back(self.output.channels, len(self.plan.commands))
        self._look_after()
        self._look_on()
        self.carrier.carry(self.attempt, self.guardian)
        while self._goes_on():
            self.carrier.carry(self.attempt, self.guardian)
        return self._end()

    def _prepared(self, plan: Plan, number: int) -> Attempt:
        return Attempt(plan, number, self.output, self.orders, self.notify)

    def _look_after(self) -> None:
        """Load and make what is needed once ranks run: they start meanwhile."""
        from accel_launch.running.attempts.carrier import Carrier
        from accel_launch.running.attempts.series import Series
        from accel_launch.running.onlookers.onlookers import Onlookers
        from accel_launch.running.onlookers.registry.record.recorder import Recorder

        self.record = Recorder(self.plan, None if self.caller is None else self.caller.event, self.folder)
        self.signals.noted_by(self.record.signal)
        self.onlookers = Onlookers(self.plan, self.output.print, self.orders, self.record)
        self.series = Series(self.plan, self.notify, self.output.print)
        self.carrier = Carrier(self.plan, self.output, self.signals, self.onlookers, self.parent_fd)

    def _fork(self, others: tuple[int, ...]) -> None:
        """Start the attempt, without ``others`` of our descriptors.

        Raises:
            OSError: the system refuses a process.
        """
        if self.plan.display.folded and self.output.channels.caller is None:  # who takes the lines gets every one
            self.output.fold(self._failed, lambda: self.signals.ended_by == signal.SIGINT)
        self.attempt.fork(self.guardian, self.signals, self.parked, others)

    def _look_on(self) -> None:
        """Begin to look on at the attempt."""
        if self.carrier.watch is None:
            self._watch_others()
        attempt, watch = self.attempt, self.carrier.watch
        self.onlookers.start(attempt.reader, attempt.record, self.output.channels, self._ending, watch)
        attempt.standstills = self.onlookers.standstills

    def _watch_others(self) -> None:
        if self.plan.lifeline is None:
            return
        from accel_launch.running.lifeline.secret import Secret
        from accel_launch.running.lifeline.watch import Watch

        known = Secret(self.plan.lifeline, self.secret)
        self.carrier.watch = Watch(self.plan, known, os.uname().nodename, self._observe, self.attempt)

    def _failed(self) -> bool:
        return self.attempt.failed()

    def _ending(self) -> bool:
        """Return whether the run is about to end by a signal or a failure, here or elsewhere."""
        elsewhere = self.carrier.watch is not None and self.carrier.watch.ending
        return bool(self.signals.hurried or elsewhere or self.carrier.called_off or self.attempt.failed())

    def _observe(self) -> Observation:
        return self.attempt.observed(self.signals, self.onlookers)

    # Between attempts, and at the end.

    def _goes_on(self) -> bool:
        """Start another attempt if one follows; return False if the run ends here."""
        if not self.plan.restarting.most or self.attempt.dead_guardian is not None:
            return False
        result = self.attempt.judged(self.signals, self.onlookers)
        if not result.status or result.signal or self.carrier.called_off:
            return False
        verdict = self.series.verdict(self.attempt, result, self.signals.first)
        if not verdict.again:
            return False
        from accel_launch.running.output.ending import instead

        self.output.end(self.carrier.poller)
        self.output.streams[1].put(None, instead(self.output, result))
        self.series.add(self.attempt, result)
        self.series.announce(self.attempt, verdict, self.signals.first)
        return self._waited(verdict) and self._restarted(result)

    def _waited(self, verdict: Verdict) -> bool:
        """Wait until another attempt may start; return False if the run ends before."""
        if verdict.delay or any(self.plan.devices):
            from accel_launch.running.attempts.interval import Interval

            interval = Interval(verdict.delay, self.orders, self.carrier.poller)
            if any(self.plan.devices):
                interval.free(tuple(self.attempt.pids().values()), self.output.print)
            while interval.due and not (self.carrier.called_off or self.signals.hurried):
                ready = self.carrier.wait(min(interval.due, LOOK) if verdict.awaited else interval.due)
                self.carrier.turn(ready)
                interval.step(ready)
                if verdict.ready:
                    interval.until = 0.0
            interval.end()
        return not (self.carrier.called_off or self.signals.hurried)

    def _restarted(self, result: Result) -> bool:
        """Start the next attempt; return False if that isn't possible, or if a signal has come."""
        number = self.attempt.number + 1
        self.attempt.close()
        self.closed = result
        try:
            self.attempt = self._prepared(self.series.next_plan(number), number)
            self.series.follow(self.attempt)
            if self.signals.hurried:  # a later signal reaches the guardian
                return False
            self._fork(self.onlookers.descriptors)
            self._look_on()
        except OSError as error:
            self.closed = result.replace(
                problems=(*result.problems, f"not started again: {_missing(self.plan, error)}")
            )
            return False
        self.closed = None
        self.series.went_on(result)
        return True

    def _end(self) -> Result:
        """Write all that waits, and return the result."""
        self.onlookers.close(self.carrier.poller)
        if self.parked is not None:
            self.parked.leave(self.output.print)
        self.carrier.write_out()
        result = self.closed or self.attempt.judged(self.signals, self.onlookers)
        result = self.series.whole(self.attempt, result, (self.signals.first, self.signals.first_at))
        self.signals.rest(unread=self.output.waiting)
        self.attempt.preparation.remove()
        watch = self.carrier.watch
        result = result if watch is None else watch.conclude(result, self.carrier.calling)
        result = self.record.end(result, self.caller.failure if self.caller is not None else "")
        if self.output.needs_end:
            from accel_launch.running.output.ending import finish

            finish(self.output, self.plan.display, result)
        return result


def _give_terminal(run: Supervisor) -> None:
    """Let a rank have the terminal, if there is one."""
    rank = run.plan.display.debugged
    if rank is None and not (os.isatty(0) and os.isatty(1)):  # a pager after us has a terminal of its own
        return
    from accel_launch.running.output import terminals
    from accel_launch.running.supervising.terminal import Terminal

    if rank is not None:
        terminals.await_foreground()
    debugs = lambda: rank is not None and rank in run.attempt.running()  # noqa: E731
    run.signals.terminal = Terminal(debugs, run.orders, run.output.redraw)


def _missing(plan: Plan, error: OSError) -> str:
    """Return what couldn't be made, and why."""
    what = "the ranks' streams" if error.errno == errno.EMFILE else f"log_dir {plan.display.log_dir}"
    return f"{what}: {error.strerror}"
