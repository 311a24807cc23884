"""Which rank failed first, and which exceptions ended ranks: of those that were terminated, only what is certain.

A rank that raises dies late: while it still cleans up, its peers lose their connections to it, raise as well, and may
be gone before it; then it is terminated as all ranks are. But a rank that has handled and printed an exception, and
works on, leaves the same behind.
"""

from __future__ import annotations

import functools

from accel_config.record import Record
from accel_launch.ranks.signals import signal
from accel_launch.running.report import evidence
from accel_launch.running.report.records import Raised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_launch.planning.types import Plan
    from accel_launch.running.report.evidence.finding import Found
    from accel_launch.running.report.observation import Observation, Output
    from accel_launch.running.report.records import Ending

CLEANING = 30.0  # seconds that a rank may take from its exception to its death
SOON = 10.0  # seconds from an exception that may be the cause to one that a lost peer raises


class Raising(Record):
    """An exception that a rank printed at the end of its output."""

    at: float
    fate: str
    """Whether nothing caught it, as `evidence.catching` has it."""
    found: Found

    @property
    def kind(self) -> str:
        """The exception's type."""
        return self.found.exception.partition("\n")[0].partition(":")[0]


class Blame:
    """Judges the ranks of an observation."""

    def __init__(self, plan: Plan, observation: Observation) -> None:
        """Take what was observed."""
        self.plan, self.observation = plan, observation
        self.begun = max((ending.at for attempt in observation.earlier for ending in attempt), default=-1.0)
        self.known: dict[Ending, Raising | None] = {}
        self.root: Ending | None = None
        self.blamed = False
        """Whether the root is to blame for what it raised, though another rank died before it."""

    @functools.cached_property
    def finding(self):
        """The module that reads output, loaded where something has failed; None if that isn't possible."""
        return evidence.loaded()

    def choose(self, first: Ending) -> None:
        """Set the root: the rank that failed first, of which the ``first`` to die may only be a victim."""
        self.root = first
        if first.status != 1:
            return
        own = self._raising(first)
        when = {} if own is None else {first: own.at}
        for ending in self.observation.endings:
            one = self._raising(ending) if ending is not first else None
            if one is not None and one.at <= first.at and self._caused(one, own):
                when[ending] = one.at
        self.root = self._closed(when) or min(when, key=lambda ending: when[ending], default=first)
        self.blamed = self.root is not first

    def _closed(self, when: Mapping[Ending, float]) -> Ending | None:
        """Return the one that raised something else than a lost connection, where gloo says that one was closed.

        Whatever a ``finally`` does, such as ``destroy_process_group()``, comes before Python prints the exception.
        """
        from accel_launch.running.report.evidence import peers, timeouts

        raised = {ending: one.found.exception for ending in when if (one := self._raising(ending)) is not None}
        earliest = min(when, key=lambda ending: when[ending], default=None)
        if earliest is None or not timeouts.closed(raised.get(earliest, "")):
            return None
        others = [ending for ending, exception in raised.items() if not peers.lost(exception)]
        return others[0] if len(others) == 1 and when[others[0]] <= when[earliest] + SOON else None

    def _caused(self, one: Raising, victims: Raising | None) -> bool:
        """Return whether an exception may have been the cause, and not one that its rank has handled."""
        from accel_launch.running.report.evidence import catching, peers

        if one.fate == catching.UNCAUGHT:
            return True
        return (
            one.fate == catching.UNKNOWN
            and victims is not None
            and one.at <= victims.at <= one.at + SOON
            and peers.lost(victims.found.exception)
        )

    def raised(self, ending: Ending) -> float:
        """Return when a rank raised the exception that it ended by; 0 if that isn't known."""
        one = self._raising(ending)
        return one.at if one is not None and (not ending.signal or self._certain(ending, one)) else 0.0

    def found(self, ending: Ending) -> Found | None:
        """Return what ended a rank."""
        one = self._raising(ending)
        if one is not None and ending.signal == signal.SIGTERM and not self._certain(ending, one):
            return None
        return self._found(ending)

    def _certain(self, ending: Ending, one: Raising) -> bool:
        from accel_launch.running.report.evidence import catching

        return one.fate == catching.UNCAUGHT or (ending is self.root and self.blamed)

    def also_raised(self) -> tuple[Raised, ...]:
        """Return the exceptions that ended other ranks."""
        known = {other: self._raising(other) for other in self.observation.endings if other is not self.root}
        return tuple(
            Raised(other.rank, one.found.exception, one.found.traceback)
            for other, one in known.items()
            if one is not None and one.found.exception and self._followed(other, one)
        )

    def _followed(self, other: Ending, one: Raising) -> bool:
        """Return whether an exception ended another rank than the root."""
        from accel_launch.running.report.evidence import catching, peers

        root = self.root
        own = self._raising(root) if root is not None else None
        if one.fate == catching.UNCAUGHT:
            return True
        if own is not None and (own.kind, own.found.where) == (one.kind, one.found.where):
            return True  # the same fault on each rank
        since = own.at if own is not None else root.at if root is not None else 0.0
        if one.at < since:
            return False  # it may have been handled
        return not other.signal or (one.fate != catching.HANDLED and peers.lost(one.found.exception))

    def _raising(self, ending: Ending) -> Raising | None:
        """Return the exception that a rank printed last, if it may have ended by that."""
        if ending not in self.known:
            self.known[ending] = self._look(ending)
        return self.known[ending]

    def _look(self, ending: Ending) -> Raising | None:
        output = self._output(ending)
        recent = self._since(ending) < output.traceback_at <= ending.at
        # It may have been terminated while it cleaned up, as all ranks are.
        if not recent or ending.status not in (1, 128 + signal.SIGTERM) or self.finding is None:
            return None
        commands = self.plan.commands[ending.local_rank : ending.local_rank + 1] or self.plan.commands[:1]
        words = tuple(commands[0].argv) if commands else ()
        fate = self.finding.fate(output, ending.status, ending.signal, words)
        found = self._found(ending)
        return Raising(output.traceback_at, fate, found) if fate and found is not None and found.exception else None

    def _found(self, ending: Ending) -> Found | None:
        """Return what the rank's output says. Output of an earlier time is no evidence."""
        if self.finding is None:
            return None
        error = self.observation.error(ending.local_rank)
        return self.finding.found(self._output(ending), ending.status, ending.signal, error, self._since(ending))

    def _output(self, ending: Ending) -> Output:
        output = self.observation.output(ending.local_rank)
        return output.replace(began_at=self.observation.began, ended_at=ending.at)

    def _since(self, ending: Ending) -> float:
        return max(ending.at - CLEANING, self.begun)
