"""A log file of what a rank writes."""

from __future__ import annotations

import os

STDOUT, STDERR = 1, 2
NAMES = {STDOUT: "stdout", STDERR: "stderr"}


class LogFile:
    """A file that keeps what a rank writes to one of its streams. A full disk ends the file, not the run."""

    def __init__(self, path: str) -> None:
        """Create it, with its folder."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.path, self.failure = path, ""
        self.fd: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def write(self, data: bytes) -> None:
        """Append to the file, as long as that is possible."""
        while data and self.fd is not None:
            try:
                data = data[os.write(self.fd, data) :]
            except OSError as error:
                self.failure = f"the log file {self.path} is incomplete: {error.strerror}"
                self.close()

    def close(self) -> None:
        """Close the file."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
