"""What is kept of attempts that have ended: packed, because there may be thousands of them."""

from __future__ import annotations

import marshal

from accel_launch.running.report.records import AttemptReport, Ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from accel_launch.running.onlookers.stall.telling import Stall
    from accel_launch.running.report.records import Result


KEPT = 100  # standstills, and looks at ranks before they were killed; each has some kB


class History:
    """The attempts that were reported; those before the last one with what the run's result has of them."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self.last: AttemptReport | None = None
        self._reports: list[bytes] = []
        self._endings: list[bytes] = []
        self.notes: dict[str, None] = {}
        self.printed: list[str] = []
        self.stalls: list[Stall] = []
        self.stacks: list[Mapping[str, Any]] = []

    def report(self, report: AttemptReport) -> None:
        """Take the report on an attempt."""
        self.last = report
        self._reports.append(marshal.dumps([value for _name, value in report]))

    def keep(self, result: Result) -> None:
        """Keep what the run's result will have of an attempt that isn't the last one."""
        self._endings.append(marshal.dumps([[value for _name, value in ending] for ending in result.endings]))
        self.notes.update(dict.fromkeys(result.notes))
        self.printed += result.printed
        self.stalls += result.stalls
        self.stacks += result.stacks
        del self.stalls[:-KEPT], self.stacks[:-KEPT]

    @property
    def reports(self) -> tuple[AttemptReport, ...]:
        """All reports."""
        return tuple(AttemptReport(*marshal.loads(packed)) for packed in self._reports)  # noqa: S302  our own

    @property
    def earlier(self) -> tuple[tuple[Ending, ...], ...]:
        """How the ranks of each attempt before the last one have ended."""
        return tuple(
            tuple(Ending(*values) for values in marshal.loads(packed))  # noqa: S302  our own
            for packed in self._endings
        )
