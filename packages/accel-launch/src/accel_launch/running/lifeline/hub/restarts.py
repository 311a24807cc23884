"""Restarts that can't happen, because ranks of other machines have finished."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from accel_launch.running.lifeline.remote_failure import RemoteFailure

RESTART = 15.0  # seconds that agents may take to restart their ranks


class Restarts:
    """Knows on which machines ranks have ended, and whether their agents can still restart them together."""

    def __init__(self) -> None:
        """Begin with no machine."""
        self.well: set[int] = set()
        """Machines on which all ranks have ended well."""
        self.pending: dict[int, RemoteFailure] = {}
        """The failures after which machines would restart their ranks."""
        self.stuck: float | None = None
        """Since when they can't."""

    def update(self, machine: int, well: bool, restarting: RemoteFailure | None) -> None:
        """Take whether the ranks of a machine have ended well, or will be restarted after a failure."""
        (self.well.add if well else self.well.discard)(machine)
        if restarting is None:
            self.pending.pop(machine, None)
        else:
            self.pending.setdefault(machine, restarting)

    def blocking(self, now: float, finished: Collection[int]) -> tuple[int, ...]:
        """Return the machines that have ended well for too long while others want to restart; none if all is well."""
        well = self.well.union(finished)
        self.stuck = (self.stuck or now) if self.pending and well else None
        return tuple(well) if self.stuck is not None and now - self.stuck > RESTART else ()

    @property
    def first(self) -> RemoteFailure:
        """The first failure after which ranks would be restarted."""
        return min(self.pending.values(), key=lambda failure: failure.at)
