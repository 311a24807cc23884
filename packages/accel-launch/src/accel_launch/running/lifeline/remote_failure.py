"""The failure of a run, as one launcher reports it to another."""

from __future__ import annotations

from accel_config.record import Record
from accel_launch.running.lifeline.messages import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOST = " is lost: "
"""What the cause says of a lost machine."""


UNLIKE = "the machines aren't the same: "
"""How the cause begins if machines were refused because they differ."""


UNABLE = "the run isn't possible there: "
"""How the cause begins if a machine couldn't even start."""


class RemoteFailure(Record):
    """What failed, on which machine, when, and why."""

    machine: int
    host: str
    at: float
    """Seconds since the epoch, by the main machine's clock."""
    status: int
    """The exit status that the run has by it, as a shell gives it."""
    cause: str
    rank: int | None = None
    """None if no rank failed, but the launcher."""
    local_rank: int = 0
    pid: int = 0
    device: str | None = None
    exception: str = ""
    where: str = ""
    log: str | None = None

    @property
    def who(self) -> str:
        """What failed, in words."""
        machine = f"machine {self.machine}" + (f" (host {self.host})" if self.host else "")
        return machine if self.rank is None else f"rank {self.rank} on {machine}"

    @property
    def lost(self) -> bool:
        """Whether a machine is lost, rather than a rank or a launcher ended."""
        return self.rank is None and LOST in self.cause

    @property
    def unlike(self) -> bool:
        """Whether a machine can't take part, so that no rank has started."""
        return self.rank is None and self.cause.startswith((UNLIKE, UNABLE))

    @property
    def problem(self) -> str:
        """Why no rank has started, for every machine."""
        return self.cause if self.cause.startswith(UNLIKE) else f"{self.who}: {self.cause}"

    @property
    def message(self) -> dict[str, object]:
        """The failure as a field of a message."""
        return {name: clean(value) if isinstance(value, str) else value for name, value in dict(self).items()}

    @classmethod
    def read(cls, data: dict[str, Any] | None) -> RemoteFailure | None:
        """Return the failure in a field of a message that `messages` has checked."""
        return None if data is None else cls(**data)
