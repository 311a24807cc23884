"""The attempts of a run, one after the other: whether another one follows, what is printed, what the report holds."""

from __future__ import annotations

from accel_config.showing.printable import one_line
from accel_launch.running.attempts.history import History
from accel_launch.running.guardian.workload import COUNT, PORT
from accel_launch.running.report.causes import cause
from accel_launch.running.report.records import AttemptReport, Event, signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_launch.machine.probe import Ports
    from accel_launch.planning.types import Plan
    from accel_launch.running.attempts.attempt import Attempt
    from accel_launch.running.report.records import Result
    from accel_launch.running.restarting.judge import Judge, Verdict


class Series:
    """What is known of the attempts that have ended."""

    def __init__(self, plan: Plan, notify: Callable[[Event], object] | None, say: Callable[[str], None]) -> None:
        """Take the plan of the first attempt; ``notify`` about the end of each, and print by ``say``."""
        self.plan, self.notify, self.say = plan, notify, say
        self.judge: Judge | None = None
        self.ports: Ports | None = None
        """What holds the port of the last attempt, until the next one has its own."""
        self.history = History()
        self.pending = False
        """Whether an attempt has ended after which another one is to start."""
        self.why = ""
        """Why no other attempt follows the last one, though it failed."""

    def verdict(self, attempt: Attempt, result: Result, signal: int) -> Verdict:
        """Return whether another attempt follows one that failed; a ``signal`` may have come meanwhile."""
        from accel_launch.running.restarting import judge

        if signal and attempt.stalled:  # what ended the run stays the standstill
            self.why = f"not started again: {signal_name(signal)}"
            return judge.Verdict(again=False)
        self.judge = self.judge or judge.Judge(self.plan.restarting.policy, self.plan.restarting.most)
        ended = judge.Attempt(attempt.number, attempt.began, attempt.ended, result, attempt.progress())
        verdict = self.judge.after(ended)
        if not verdict.again:
            self.why = verdict.why
        return verdict

    def announce(self, attempt: Attempt, verdict: Verdict, signal: int) -> None:
        """Print that another attempt follows, unless a ``signal`` prevents that."""
        ended = self.history.last
        lost = _lasting(ended.ended - ended.began - ended.progress if ended is not None else 0.0)
        delay = f" in {verdict.delay:g} s" if verdict.delay else ""
        if verdict.awaited:
            delay = f" as soon as the file is there, or{delay}"
        next_one = f"restart {attempt.number + 1} of {self.plan.restarting.most}{delay}"
        then = f"not started again: {signal_name(signal)}" if signal else next_one
        why = one_line(verdict.why)  # with names of files and exceptions
        self.say(f"accel: attempt {attempt.number}: {why}; {lost} lost; {then}\n")

    def add(self, attempt: Attempt, result: Result) -> None:
        """Take an attempt after which another one is to follow."""
        self._report(attempt, result)
        self.pending = True

    def went_on(self, result: Result) -> None:
        """Take the result of that attempt once the other one has started."""
        self.history.keep(result)
        self.pending = False

    def follow(self, attempt: Attempt) -> None:
        """See from now on how long an attempt, which is to start, only repeats what earlier ones have done."""
        from accel_launch.running.restarting.repetition import Repetition

        attempt.repetition = Repetition(None if self.judge is None else self.judge.furthest, attempt.progress)

    def _report(self, attempt: Attempt, result: Result) -> None:
        report = AttemptReport(
            number=attempt.number,
            began=attempt.began,
            ended=attempt.ended,
            status=result.status,
            cause=cause(result),
            progress=self._progress(attempt, result),
        )
        self.history.report(report)
        if self.notify is not None and self.plan.restarting.most:
            self.notify(Event("attempt", -1, -1, 0, attempt=report))

    def _progress(self, attempt: Attempt, result: Result) -> float:
        """Return the seconds in which an attempt did what none before it had done.

        That ends with its last progress if it didn't end well: with none if nothing showed any.
        """
        lasted = attempt.ended - attempt.began
        well = not result.status or result.later or _saved(result)
        reached = attempt.progress() if self.plan.restarting.most else None
        shown = 0.0 if reached is None else min(max(0.0, reached.at - attempt.began), lasted)
        if result.failure is not None:
            shown = min(shown, max(0.0, result.failure.at - attempt.began))
        until, repeated = lasted if well else shown, 0.0
        if attempt.repetition is not None:
            attempt.repetition.end()
            # What comes after the last step of one that ends well is new.
            repeated = attempt.repetition.seconds if attempt.repetition.over else shown
        return max(0.0, until - repeated)

    def next_plan(self, number: int) -> Plan:
        """Return the plan of a later attempt: it has another port to meet at, so that nobody meets the dead.

        Raises:
            OSError: no port is free.
        """
        from accel_launch.machine.probe import Ports

        ports, named = Ports(), self.plan.restarting.port
        port = named if named and not ports.busy(named) else ports.free()
        self.ports = ports
        return self.plan.replace(
            commands=tuple(
                command.replace(env={**command.env, **_changes(command.env, number, port)})
                for command in self.plan.commands
            )
        )

    def whole(self, attempt: Attempt, result: Result, signal: tuple[int, float]) -> Result:
        """Return the result of the run from that of its last attempt.

        A ``signal``, with its time, ends a run that would have been started again.
        """
        if not self.pending:
            self._report(attempt, result)
        number, at = signal
        if self.pending and number:
            result = result.replace(status=128 + number, signal=number, at=at, failure=None, also_raised=())
        if self.plan.hosted:
            return result
        return result.replace(
            earlier=self.history.earlier,
            attempts=self.history.reports,
            notes=tuple(dict.fromkeys((*self.history.notes, *result.notes))),
            printed=(*self.history.printed, *result.printed),
            stalls=(*self.history.stalls, *result.stalls),
            stacks=(*self.history.stacks, *result.stacks),
            not_again=self.why,
        )


def _saved(result: Result) -> bool:
    """Return whether all ranks ended by themselves, as after saving, when a signal asked them to."""
    return bool(result.signal and result.endings) and not any(ending.failed for ending in result.endings)


def _changes(environ: dict[str, str], number: int, port: int) -> dict[str, str]:
    values = {PORT: str(port), COUNT: str(number)}
    return {name: text for name, text in values.items() if name in environ}


def _lasting(seconds: float) -> str:
    from accel_launch.machine.clock import MINUTES, duration

    return duration(seconds) if seconds >= MINUTES else f"{seconds:.1f} s"
