"""Files in which a script can write how far it is, without importing anything of ours."""

from __future__ import annotations

import os
import stat

from accel_launch.ranks.module import scratch_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "ACCELERATE_PROGRESS_FILE"
"""Names the file: a script writes ``120``, ``120/1000``, or ``epoch 3 step 120``."""
LIMIT = 4096  # bytes that are read of a file: its end


class ProgressFiles:
    """The files in which ranks write how far they are: one for each in a private folder, or the user's own."""

    def __init__(self, ranks: int, environ: Mapping[str, str]) -> None:
        """Make the folder; none if ``environ`` names a file."""
        named = environ.get(VARIABLE, "")
        self.folder = "" if named else _folder()
        own = [os.path.join(self.folder, f"rank-{local}") for local in range(ranks)] if self.folder else []
        self.own = own
        """The files of the ranks, which write or rename them; none is there before."""
        self.paths = [os.path.expanduser(named)] if named else own

    def variables(self, local: int) -> dict[str, str]:
        """Return what to add to the environment of a local rank."""
        return {VARIABLE: self.own[local]} if local < len(self.own) else {}

    def contents(self) -> list[tuple[str, float]]:
        """Return the end of each file that holds something, and when that was written, in seconds since the epoch."""
        return [found for path in self.paths if (found := _content(path))[0]]

    def close(self) -> None:
        """Remove the folder."""
        folder, self.folder = self.folder, ""
        try:
            if folder:
                os.rmdir(folder)
        except OSError:
            import shutil

            shutil.rmtree(folder, ignore_errors=True)


def _folder() -> str:
    """Make a folder, in which a file can be replaced by another; return nothing if that can't be."""
    path = scratch_path()
    try:
        os.mkdir(path, 0o700)
    except OSError:
        return ""
    return path


def _content(path: str) -> tuple[str, float]:
    """Return the end of a regular file; nothing if it can't be read. A pipe would hold us up."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return "", 0.0
    try:
        seen = os.fstat(fd)
        if not stat.S_ISREG(seen.st_mode):
            return "", 0.0
        return os.pread(fd, LIMIT, max(0, seen.st_size - LIMIT)).decode(errors="replace"), seen.st_mtime
    except OSError:
        return "", 0.0
    finally:
        os.close(fd)
