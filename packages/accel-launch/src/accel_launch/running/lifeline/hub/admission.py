"""Which launchers may take part in a run: the main machine's checks."""

from __future__ import annotations

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_launch.running.lifeline import Lifeline
    from accel_launch.running.lifeline.hub.peers import Roster


class Refusal(Record):
    """Why a launcher can't take part."""

    why: str
    public: str
    """The same for who may be a stranger: without the run's name and sizes."""


class Admission:
    """Checks what launchers report about themselves."""

    def __init__(self, line: Lifeline, roster: Roster) -> None:
        """Take the run, and the machines that are here."""
        self.line, self.roster = line, roster
        self.total = line.total
        """The ranks that all machines were started for; None if their numbers differ, or none is set."""

    @property
    def other_run(self) -> Refusal:
        """Why a launcher of another run is refused. It hasn't told the name of its own."""
        return Refusal(f"it is of another run than {self.line.run!r}", "it is of another run")

    def refusal(self, message: dict[str, Any]) -> Refusal | None:
        """Return why the machine that sends this hello can't take part; None if it can."""
        line, machine = self.line, message["machine"]
        if message["machines"] != line.machines:
            return Refusal(
                f"it was started for {message['machines']} machines, and this run has {line.machines}",
                f"it was started for {message['machines']} machines, and this run has another number",
            )
        if not 0 < machine < line.machines:
            return Refusal(
                f"its machine_rank is {machine}, which must be from 1 to {line.machines - 1}",
                f"its machine_rank is {machine}, which this run doesn't have",
            )
        present = self.roster.present.get(machine) or self.roster.lost.get(machine)
        if present is not None and present.token != message["token"]:
            here = f"machine {machine} is here already"
            return Refusal(f"{here} (host {present.host})", here)
        if message["backend"] != line.backend:
            why = f"its rdzv_backend is {message['backend']}, and this run's is {line.backend}"
            return Refusal(why, why)
        return self._wrong_total(machine, message["local"], message["total"])

    def _wrong_total(self, machine: int, local: int, total: int | None) -> Refusal | None:
        """Return why the ranks of all machines don't add up, which only the last one to come can show."""
        if self.total is None or total not in (None, 0, self.total):
            return None
        others = {n: peer.local for n, peer in self.roster.present.items() if n != machine}
        brought = self.line.local + sum(others.values()) + local
        if len(others) + 2 < self.line.machines or brought == self.total:
            return None
        why = f"expected {self.total} processes in total, got {brought}"
        return Refusal(why, "the machines' processes don't add up to num_processes")

    def compare(self, machine: int, total: int | None) -> str:
        """Return a note if a machine was started for another number of ranks, which makes uneven machines as well."""
        expected = self.total
        if expected is None or total in (None, 0, expected):
            return ""
        self.total = None
        return (
            f"machine {machine} was started for {total} processes in total, and this one for {expected}: each brings "
            "its share of its own number"
        )
