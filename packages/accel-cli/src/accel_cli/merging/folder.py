"""The folder of a checkpoint, which may be untrusted: only plain files in it are opened."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import IO

    from accel_cli.merging.metadata import Place

PLAIN = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
"""How a file is opened, with what this system has of it."""


class Folder:
    """A folder whose links lead nowhere else, except in the Hub's cache, whose snapshots are links to its `blobs`."""

    def __init__(self, path: Path) -> None:
        """Take the folder, which itself may be a link."""
        self._path = path.resolve()
        above = self._path.parents
        caches = [above[at + 1] for at, one in enumerate(above[:-1]) if one.name == "snapshots"]
        self._own = [self._path, *(cache / "blobs" for cache in caches if cache.name.startswith("models--"))]

    def open(self, name: str) -> IO[bytes]:
        """Open one of its files for reading.

        Raises:
            ValueError: it is a link to elsewhere, or not a plain file.
            OSError: it can't be opened.
        """
        path = (self._path / name).resolve()
        if path.parent not in self._own:
            raise ValueError(f"{name} is a link out of the folder; copy the file, if you trust it")
        # Of a pipe, opening alone could wait for ever.
        handle = os.open(path, os.O_RDONLY | PLAIN)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise ValueError(f"{name} isn't a plain file")
        return os.fdopen(handle, "rb")

    def check(self, places: Iterable[Place]) -> None:
        """Check that the files hold these places, each of which has bytes of its own.

        Raises:
            ValueError: a file is shorter. So what the metadata claims is never more than what was stored.
            OSError: a file can't be opened.
        """
        totals, ends = dict[str, int](), dict[str, int]()
        for place in places:
            totals[place.file] = totals.get(place.file, 0) + place.length
            ends[place.file] = max(ends.get(place.file, 0), place.start + place.length)
        for name, total in totals.items():
            with self.open(name) as file:
                size = os.fstat(file.fileno()).st_size
            if max(total, ends[name]) > size:
                raise ValueError(f"{name} has {size:,} bytes, fewer than the metadata says; fetch it again")
