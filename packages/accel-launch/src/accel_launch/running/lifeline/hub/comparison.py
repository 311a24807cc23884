"""Whether the machines of a run are the same where they must be: the main machine compares before ranks start."""

from __future__ import annotations

import time

from accel_launch.running.lifeline.sameness.rules import differences

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from accel_launch.running.lifeline import Lifeline
    from accel_launch.running.lifeline.hub.peers import Peer, Roster
    from accel_launch.running.lifeline.sameness.rules import Difference

SLOW = 2.0  # seconds after which a machine that hasn't described itself isn't waited for
SETTLED = 1.0  # seconds after the last machine has come until what is known is told, though others are missing
MOST_NOTES = 20
ADVICE = "make the machines the same, or give each --allow_difference"


class Comparison:
    """Collects the portraits, and compares those of machines that have come."""

    def __init__(self, line: Lifeline, roster: Roster, notes: list[str]) -> None:
        """Begin with the machines of ``roster``; what differs is added to ``notes``."""
        self.line, self.roster, self.notes = line, roster, notes
        self.own: Mapping[str, str] | None = None
        """The portrait of this machine; None if nothing is compared."""
        self.portraits: dict[int, Mapping[str, str]] = {}
        self.tokens: dict[int, str] = {}
        """The launcher that each portrait is from."""
        self.compared: set[int] = set()
        self.fresh = False
        """Whether machines have come that aren't compared yet."""
        self.found: list[Difference] = []
        """What differs, for the report."""
        self.told: set[str] = set()
        self.untold = 0
        self.open = False
        """Whether ranks may start here."""

    def take(self, peer: Peer, machine: int, facts: Mapping[str, str]) -> None:
        """Take the portrait of a machine. One that has come again by another connection isn't compared again."""
        if self.tokens.get(machine) != peer.token:
            self.tokens[machine], self.portraits[machine], self.fresh = peer.token, facts, True
            self.compared.discard(machine)
        elif self.open:
            self._start(machine)

    def step(self, refuse: Callable[[dict[int, str], str], None]) -> None:
        """Compare if it is time to; ``refuse`` machines, each for a reason, by one that is for all."""
        if self.own is None:
            self.open = True
        if self.open and not self.fresh:
            return
        present, now = self.roster.present, time.monotonic()
        new = [machine for machine in present if machine not in self.compared]
        late = [machine for machine in new if not self._described(machine, present[machine], now)]
        self.fresh = bool(new)
        if self.own is None:
            for machine in new:
                self.compared.add(machine)
                self._start(machine)
            return
        elastic = self.line.least < self.line.machines
        if new and not late and (elastic or not self.roster.missing or self._settled(now)):
            self._compare(new, refuse)
        enough = 1 + len(self.compared) >= self.line.least if elastic else not self.roster.missing
        if enough and not late and not self.open:
            self.open = True
            for machine in self.compared:
                self._start(machine)

    def _described(self, machine: int, peer: Peer, now: float) -> bool:
        return machine in self.portraits or not peer.link.portraits or now - peer.joined > SLOW

    def _settled(self, now: float) -> bool:
        return all(now - peer.joined > SETTLED for peer in self.roster.present.values())

    def _compare(self, new: list[int], refuse: Callable[[dict[int, str], str], None]) -> None:
        """Compare all machines that have come; only what is new of it is told."""
        portraits = {0: self.own or {}, **{n: self.portraits[n] for n in self.roster.present if n in self.portraits}}
        subject = self.line.subject
        found = differences(dict(sorted(portraits.items())), subject.allowed if subject is not None else ())
        self.compared.update(new)
        self._tell_undescribed([machine for machine in new if machine not in self.portraits])
        self.found = found
        bad = [one for one in found if one.refused]
        reasons: dict[int, str] = {}
        for one in bad:
            for machine in sorted({*one.apart} & {*new}):
                reasons[machine] = f"{reasons[machine]}; {self._text(one)}" if machine in reasons else self._text(one)
        for one in found:
            if not one.refused:
                self._tell(self._text(one))
        if self.untold and not self.roster.missing:
            self.notes.append(f"{self.untold} more differences between the machines; the report of --report has all")
            self.untold = 0
        if reasons:
            advice = f"{ADVICE} {','.join(dict.fromkeys(one.kind for one in bad))}"
            whole = "; ".join(map(self._text, bad))
            refuse({machine: f"{why}; {advice}" for machine, why in reasons.items()}, f"{whole}; {advice}")
            self.compared -= reasons.keys()
            for machine in reasons:
                self.portraits.pop(machine, None)
                self.tokens.pop(machine, None)
        if self.open:
            for machine in self.compared.intersection(new):
                self._start(machine)

    def _text(self, one: Difference) -> str:
        return one.text(self.roster.hosts)

    def _tell(self, note: str) -> None:
        if len(self.told) >= MOST_NOTES:
            self.untold += note not in self.told
        elif note not in self.told:
            self.told.add(note)
            self.notes.append(note)

    def _tell_undescribed(self, machines: list[int]) -> None:
        from accel_launch.running.lifeline.waiting import named

        if machines:
            self.notes.append(
                f"{named(tuple(machines))}: the launcher there is older, and isn't compared with others"
            )

    def _start(self, machine: int) -> None:
        peer = self.roster.present.get(machine)
        if peer is not None and peer.link.portraits:  # an older launcher doesn't wait
            peer.link.send(kind="start")
