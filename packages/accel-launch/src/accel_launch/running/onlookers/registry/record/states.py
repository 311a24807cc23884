"""What a run does, by its events."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.planning.types import Plan
    from accel_launch.running.report.records import Event

STARTING, RUNNING, STALLED, ENDING, ENDED = "starting", "running", "stalled", "ending", "ended"


class States:
    """The state of a run while it goes on."""

    def __init__(self, plan: Plan) -> None:
        """Begin before its ranks start."""
        self.plan, self.now, self.attempt, self.started, self.ended = plan, STARTING, 0, 0, 0
        self.between = False
        """Whether all ranks of the attempt have ended."""
        self.stalls = 0
        """How often the run has stood still."""
        self.doing: dict[int, str] = {}
        """What each rank does while the run stands still."""

    def follow(self, event: Event) -> None:
        """See what an event makes of the run."""
        self.doing = dict(event.stall.kinds) if event.stall is not None else {}
        # It is told again when ranks do something else meanwhile.
        self.stalls += event.kind == "stalled" and self.now != STALLED
        if event.kind == "started":
            if self.between:
                self.between, self.attempt = False, self.attempt + 1
            self.started += 1
            if self.started >= len(self.plan.commands) and self.now == STARTING:
                self.now = RUNNING
        elif event.attempt is not None:
            self.now, self.started, self.ended, self.attempt = STARTING, 0, 0, event.attempt.number
            self.between = True
        elif self.now == ENDING:
            return
        elif event.kind in ("stalled", "moves"):
            self.now = STALLED if event.kind == "stalled" else RUNNING
        elif event.ending is not None:
            self.ended += 1
            # Once all have ended, the run only waits for processes that they have left.
            if (event.ending.status and self.plan.together) or self.ended >= len(self.plan.commands):
                self.now = ENDING
