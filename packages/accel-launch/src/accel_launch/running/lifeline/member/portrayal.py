"""What another machine tells of itself, so that the main one can compare; until then no rank starts here."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.lifeline import Lifeline
    from accel_launch.running.lifeline.link import Link
    from accel_launch.running.lifeline.member.reports import Reports


class Portrayal:
    """Sends the portrait of this machine once on each connection, when the clocks have been compared."""

    def __init__(self, line: Lifeline, notes: list[str]) -> None:
        """Describe what ``line`` has as its subject; nothing if it has none."""
        self.subject, self.notes = line.subject, notes
        self.facts: dict[str, str] | None = None
        self.sent: Link | None = None
        """The connection on which the portrait was sent."""
        self.free = self.subject is None
        """Whether ranks may start here."""

    def take(self, kind: str, link: Link | None, reports: Reports) -> None:
        """Act on a message of the main machine: ``welcome``, ``echo`` or ``start``."""
        if self.subject is None or link is None:
            return
        if kind == "start":
            self.free = True
        elif kind == "welcome":
            if link.portraits:
                reports.beat(link)  # whose echo has the clock
            elif not self.free:
                self.free = True
                self.notes.append("the main machine's launcher is older, and doesn't compare the machines")
        elif kind == "echo" and link.portraits and self.sent is not link:
            if self.facts is None:
                from accel_launch.running.lifeline.sameness.portrait import portrait

                self.facts = {"clock": f"{reports.clock.offset:.2f}", **portrait(self.subject, link.secret)}
            self.sent = link
            link.send(kind="portrait", facts=self.facts)
