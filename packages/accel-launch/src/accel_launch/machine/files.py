"""Small files of the system, such as those below ``/proc`` and ``/sys``."""

from __future__ import annotations

import os


def read(*path: str) -> str:
    """Return the file's text without surrounding spaces; empty if it can't be read."""
    try:
        with open(os.path.join(*path), encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
