"""Where torch's flight recorder of each rank writes: a private folder of the run, or one among its log files."""

from __future__ import annotations

import os
import time

from accel_launch.machine import flight_recorder
from accel_launch.ranks.module import scratch_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from accel_launch.planning.types import Plan

FOLDER, FILE = "flight_recorder", "rank_"


class Recordings:
    """The folder, made before the ranks start and removed when the run is judged, if it isn't kept."""

    def __init__(self, plan: Plan, logs: str | None) -> None:
        """Make it in the run's folder of ``logs``, else among temporary files, if the recorder is on."""
        self.plan, self.began = plan, time.time()
        self.prefix = self.private = ""
        """How the paths of the files begin, and the folder to remove."""
        self.variables: Mapping[str, str] = {}
        """What to add to the environment of each rank."""
        environ = {**os.environ, **plan.commands[0].env} if plan.commands else {}
        name, self.prefix = flight_recorder.place(environ)
        if name and not self.prefix and (plan.hosted or plan.commands[0].rank is not None):
            self._make(name, logs)

    def _make(self, name: str, logs: str | None) -> None:
        folder = os.path.join(logs, FOLDER) if logs else scratch_path()
        try:
            os.makedirs(folder, 0o700, exist_ok=bool(logs))  # an earlier attempt may have made it
        except OSError:
            return  # torch has a place of its own
        self.private = "" if logs else folder
        self.prefix = os.path.join(folder, FILE)
        self.variables = {name: self.prefix}

    def read(self) -> dict[int, Any]:
        """Return what is there, by rank."""
        if not self.prefix:
            return {}
        from accel_launch.running.report.evidence import recorder as files

        ranks = range(self.plan.first_rank, self.plan.first_rank + max(self.plan.hosted, len(self.plan.commands)))
        return files.read(self.prefix, ranks, self.began)

    def close(self) -> None:
        """Remove the folder, unless it is kept."""
        if self.private:
            import shutil

            shutil.rmtree(self.private, ignore_errors=True)
