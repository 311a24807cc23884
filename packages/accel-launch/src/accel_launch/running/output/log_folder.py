"""The folder of one run's log files: ``2026-11-28_12-40-05_train/attempt_0/LOCAL_RANK/stdout.log``."""

from __future__ import annotations

import os
import time

from accel_launch.running.output.log_file import NAMES, LogFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.planning.types import Display

LATEST = "latest"


class LogFolder:
    """The folder, beside those of earlier runs, with a link to the latest; all its paths are made here."""

    def __init__(self, display: Display) -> None:
        """Create the folder if ``display`` keeps any log.

        Raises:
            OSError: it can't be created.
        """
        self.kept = display.kept
        self.path: str | None = None
        self.failures: list[str] = []
        """What couldn't be made, and why."""
        if display.log_dir is not None and any(display.kept):
            base = os.path.abspath(os.path.expanduser(display.log_dir))
            os.makedirs(base, exist_ok=True)
            place = f"_{display.place}" if display.place else ""
            name = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{display.name}{place}"
            self.path = _new_folder(os.path.join(base, name))
            self._link(os.path.join(base, LATEST + place))

    def _link(self, link: str) -> None:
        """Let ``latest`` lead to this folder, in one step."""
        temporary = f"{link}.{os.getpid()}"
        try:
            if os.path.lexists(link) and not os.path.islink(link):
                raise FileExistsError(0, "it isn't a link")
            os.symlink(os.path.basename(self.path or ""), temporary)
            os.replace(temporary, link)
        except OSError as error:
            self.failures.append(f"{link} doesn't lead to the latest logs: {error.strerror}")

    def streams(self, local: int) -> int:
        """Return which streams of a local rank are kept: the sum of 1 for output and 2 for error."""
        return self.kept[local] if local < len(self.kept) else 0

    def of(self, local: int, attempt: int) -> str | None:
        """Return the folder of a local rank's log files; None if none are kept."""
        if self.path is None or not self.streams(local):
            return None
        return os.path.join(self.path, f"attempt_{attempt}", str(local))

    def file(self, local: int, stream: int, attempt: int) -> LogFile | None:
        """Create the log file of a local rank's stream; return None if it isn't kept.

        Raises:
            OSError: it can't be created.
        """
        folder = self.of(local, attempt)
        if folder is None or not self.streams(local) & stream:
            return None
        return LogFile(os.path.join(folder, f"{NAMES[stream]}.log"))


def _new_folder(path: str) -> str:
    """Create a folder that nobody has, with a number if another run began in the same second."""
    number = 1
    while True:
        numbered = path if number == 1 else f"{path}_{number}"
        try:
            os.mkdir(numbered)
        except FileExistsError:
            number += 1
        else:
            return numbered
