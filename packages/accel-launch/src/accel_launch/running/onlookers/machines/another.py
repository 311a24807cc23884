"""A machine other than the main one: it answers questions about its ranks, and hears of the run's standstill."""

from __future__ import annotations

from accel_launch.machine.clock import duration
from accel_launch.running.onlookers.machines import merging
from accel_launch.running.onlookers.machines.parts import from_message
from accel_launch.running.onlookers.machines.worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Sequence
    from typing import Any

    from accel_launch.inspecting.subject import Subject
    from accel_launch.running.lifeline.member.member import Member
    from accel_launch.running.onlookers.stall.telling import Stall

SAME = 5.0  # seconds by which the beginning of one standstill may seem to differ


class Another:
    """Acts on what the main machine sends."""

    def __init__(
        self,
        member: Member,
        subjects: Callable[[], Sequence[Subject]],
        ask: Callable[[int], None],
        tell: Callable[[Stall, bool | None], None],
        say: Callable[[str], None],
    ) -> None:
        """Listen. The functions are those of `station.Station`."""
        self.member, self.ask, self.tell, self.say = member, ask, tell, say
        self.worker = Worker(subjects, member.answer)
        self.shown = 0.0
        """When the standstill began that was shown here last."""
        member.take = self._take

    @property
    def main(self) -> str:
        """The main machine, in words; empty if it hasn't answered."""
        return merging.name(0, self.member.main.host) if self.member.main.received is not None else ""

    def close(self, poller: select.poll) -> None:
        """Listen no more."""
        self.worker.close(poller)
        self.member.take = lambda _kind, _message: None

    def _take(self, kind: str, message: dict[str, Any]) -> None:
        if kind == "stall":
            self._stalled(message)
        elif message["about"] == "stacks":
            self.worker.ask(message["number"])
        else:
            self.ask(message["number"])

    def _stalled(self, message: dict[str, Any]) -> None:
        parts = from_message(message["groups"])
        if not parts:
            return
        found = merging.stall({0: parts}, {}, message["unasked"], at=message["at"], since=message["since"])
        found = found.replace(groups=tuple(part.group for part in parts))
        if abs(found.since - self.shown) > SAME:
            self.shown = found.since
            seconds = duration(max(found.seconds, 0.0))
            self.say(f"accel: standing still for {seconds}: {message['culprit']}; {self.main} shows all ranks\n")
        self.tell(found, message["ends"])
