"""The line about log files and processes that follows the summary once the ranks run."""

from __future__ import annotations

from accel_config.showing.printable import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_launch.planning.types import Plan


class Announcement:
    """Prints the line once, if log files are asked for."""

    def __init__(self, plan: Plan, path: str | None) -> None:
        """Announce the folder ``path`` and the ranks' processes, as soon as all are there."""
        self.path = path
        self.due = plan.display.announced and path is not None
        self.expected = plan.hosted or len(plan.commands)

    def look(self, find: Callable[[], dict[int, int]], print_line: Callable[[str], None]) -> None:
        """Print the line if all ranks have been started since the last look: those that ``find`` returns."""
        if not self.due or self.path is None:
            return
        pids = find()
        if len(pids) >= self.expected:
            self.due = False
            words = ", ".join(f"{rank}: {pid}" for rank, pid in sorted(pids.items()))
            print_line(f"accel: logs in {one_line(self.path)}, pids by rank: {words}\n")
