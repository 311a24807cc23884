"""The guardian's events: a line each, up the pipe to the launcher."""

from __future__ import annotations

import os


class Events:
    """The guardian's end of the pipe."""

    def __init__(self, fd: int) -> None:
        """Write to ``fd``."""
        self.fd = fd

    def send(self, *words: object) -> None:
        """Send an event."""
        try:
            os.write(self.fd, (" ".join(map(str, words)).replace("\n", " ") + "\n").encode(errors="replace"))
        except OSError:
            pass  # the launcher is gone, which the end of its orders will show
