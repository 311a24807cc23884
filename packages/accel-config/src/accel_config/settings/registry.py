"""The names that installed packages register in a group of entry points.

`importlib.metadata` costs as much as several bare starts, which help and completion can't afford; the names alone
stand in a text file of each distribution.
"""

from __future__ import annotations

import os
import sys


def registered(group: str) -> tuple[str, ...]:
    """Return the names of the entry points of ``group``, sorted; none where no package that has them is installed."""
    return tuple(sorted({name for folder in sys.path for name in _in_folder(folder or os.curdir, group)}))


def _in_folder(folder: str, group: str) -> list[str]:
    try:
        distributions = [name for name in os.listdir(folder) if name.endswith(".dist-info")]
    except OSError:  # a zip file, or a folder that doesn't exist
        return []
    return [
        name
        for distribution in distributions
        for name in _in_file(os.path.join(folder, distribution, "entry_points.txt"), group)
    ]


def _in_file(path: str, group: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except OSError:  # most distributions have no entry points
        return []
    names: list[str] = []
    section = ""
    for line in lines:
        if line.startswith("["):
            section = line[1:-1]
        elif section == group and "=" in line and not line.startswith(("#", ";")):
            names.append(line.partition("=")[0].strip())
    return names
