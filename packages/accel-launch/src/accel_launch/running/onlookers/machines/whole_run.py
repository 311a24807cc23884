"""Whether a run over several machines stands still: only if no machine moves. The main machine decides it."""

from __future__ import annotations

import time

from accel_launch.machine.clock import duration
from accel_launch.running.onlookers.machines import merging
from accel_launch.running.onlookers.stall.telling import ENDED
from accel_launch.running.onlookers.stall.verdict import STANDING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from accel_launch.running.lifeline.hub.questions import Standing
    from accel_launch.running.onlookers.machines.parts import Part
    from accel_launch.running.onlookers.stall.telling import Stall

ANSWER = 8.0  # seconds for a machine to look at its ranks and answer
AGAIN = 0.25  # of the time after which standing still is told: until a run is asked again that only computes
SILENT = "its launcher doesn't answer"


class Round:
    """One time that all machines are asked."""

    def __init__(self, number: int, asked: frozenset[int]) -> None:
        """Begin."""
        self.number, self.asked = number, asked
        self.until = time.monotonic() + ANSWER
        self.parts: dict[int, Sequence[Part]] = {}


class WholeRun:
    """Takes what the machines report, asks them, and tells that the run stands still."""

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        after: float,
        own: tuple[int, str],
        others: Callable[[], Mapping[int, Standing]],
        ask: Callable[[int, int], None],
        tell: Callable[[Stall], None],
        say: Callable[[str], None],
        numbers: Iterator[int],
    ) -> None:
        """Watch for a standstill of ``after`` seconds.

        Args:
            after: Seconds without progress on any machine.
            own: This machine, and its host.
            others: Returns the other machines of the run.
            ask: Asks a machine for its groups: the second value is the number of the question.
            tell: Takes a standstill.
            say: Takes a line to print.
            numbers: The numbers of questions.
        """
        self.after, self.own, self.others, self.ask = after, own, others, ask
        self.tell, self.say, self.numbers = tell, say, numbers
        self.still: dict[int, float] = {}
        """Since when each machine stands still, by the monotonic clock; machines that move aren't here."""
        self.told = 0
        """How often the present standstill was told."""
        self.round: Round | None = None
        self.next = float("inf")
        """When there is something to do again, by the monotonic clock."""

    @property
    def due(self) -> float | None:
        """Seconds until there is something to do again; None if there isn't."""
        return max(self.next - time.monotonic(), 0.0) if self.next < float("inf") else None

    def stands(self, machine: int, seconds: float | None, *, seen: bool = True) -> None:
        """Take that a machine has stood still for so long; None: that something moves there.

        It wasn't ``seen`` to move if the time before doesn't count: the machine slept, or its launcher was stopped.
        """
        now = time.monotonic()
        if seconds is not None:
            self.still[machine] = now - seconds
            self.next = min(self.next, now)
            return
        if self.told and seen:
            self.say(f"accel: the run moves again, after {duration(now - max(self.still.values(), default=now))}\n")
        self.still.pop(machine, None)
        self.round, self.told, self.next = None, 0, float("inf")

    def answer(self, machine: int, number: int, parts: Sequence[Part]) -> None:
        """Take the groups of a machine."""
        if self.round is not None and number == self.round.number and machine in self.round.asked:
            self.round.parts[machine] = parts
            self.next = time.monotonic()

    def step(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        if now < self.next:
            return
        others = self.others()
        awaited = frozenset({self.own[0], *(m for m, one in others.items() if not reason(one) and not one.over)})
        if self.round is not None:
            self._hear(self.round, others, now)
        elif any(one.back for one in others.values()):
            self.next = now + 1
        elif awaited - self.still.keys():  # they report when they stand still; whoever can't be asked later, doesn't
            self.next = now + ANSWER if self.still else float("inf")
        else:
            self._begin(awaited, now)

    def _begin(self, awaited: frozenset[int], now: float) -> None:
        self.next = max(self.still[machine] for machine in awaited) + self.after * 2**self.told
        if now < self.next:
            return
        self.round = Round(next(self.numbers), awaited)
        self.next = self.round.until
        for machine in sorted(awaited):
            self.ask(machine, self.round.number)

    def _hear(self, asked: Round, others: Mapping[int, Standing], now: float) -> None:
        if asked.asked - asked.parts.keys() and now < asked.until:
            self.next = asked.until
            return
        self.round = None
        hosts = {**{machine: one.host for machine, one in others.items()}, self.own[0]: self.own[1]}
        reasons = {machine: ENDED if one.over else reason(one) for machine, one in others.items()}
        for machine in asked.asked:
            reasons[machine] = "" if machine in asked.parts else SILENT
        unasked = merging.unasked(reasons, hosts)
        since = max(self.still[machine] for machine in asked.asked)
        found = merging.stall(asked.parts, hosts, unasked, at=time.time(), since=time.time() - (now - since))
        if STANDING.isdisjoint(found.kinds.values()):  # they go round in loops, or have ended
            self.next = now + self.after * AGAIN
            return
        self.told += 1
        self.next = since + self.after * 2**self.told
        self.tell(found.replace(at_fault=merging.culprit(found, asked.parts, hosts)))


def reason(one: Standing) -> str:
    """Return why another machine can't report that it stands still; empty if it can, or has ended."""
    return "" if one.over else one.why or one.unwatched
