"""Files in which a script can write how far it is, without importing anything of ours."""

from __future__ import annotations

import os
import stat

from accel_launch.running.engine_record import memory_file, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "ACCELERATE_PROGRESS_FILE"
"""Names the file: a script writes ``120``, or ``epoch 3 step 120``."""
LIMIT = 4096  # bytes that are read of a file


class ProgressFiles:
    """The files in which ranks write how far they are: one in memory for each, or the user's own for the run."""

    def __init__(self, ranks: int, environ: Mapping[str, str]) -> None:
        """Make the files; none if ``environ`` names one."""
        self.named = environ.get(VARIABLE, "")
        self.own = [] if self.named else [memory_file("accel-progress") for _rank in range(ranks)]

    def variables(self, local: int) -> dict[str, str]:
        """Return what to add to the environment of a local rank."""
        fd = self.own[local] if local < len(self.own) else None
        return {} if fd is None else {VARIABLE: f"/proc/{os.getpid()}/fd/{fd}"}

    @property
    def at(self) -> float:
        """When one was last written, in seconds since the epoch; 0 if none was."""
        found = [os.fstat(fd) for fd in self.own if fd is not None]
        try:
            found += [os.stat(os.path.expanduser(self.named))] if self.named else []
        except (OSError, ValueError):
            pass
        return max((one.st_mtime for one in found if one.st_size), default=0.0)

    def texts(self) -> list[str]:
        """Return what the files hold."""
        return [_content(self.named)] if self.named else [read(fd, LIMIT) for fd in self.own]

    def close(self) -> None:
        """Let go of the files."""
        for fd in self.own:
            if fd is not None:
                os.close(fd)
        self.own.clear()


def _content(path: str) -> str:
    """Return the beginning of a regular file; nothing if it can't be read. A pipe would hold us up."""
    try:
        fd = os.open(os.path.expanduser(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return ""
    try:
        return os.read(fd, LIMIT).decode(errors="replace") if stat.S_ISREG(os.fstat(fd).st_mode) else ""
    except OSError:
        return ""
    finally:
        os.close(fd)
