"""Bytes that can be read by position: a file on disk here, a file on the Hub in `hub`."""

import os
from typing import Protocol

from accel_estimate.errors import CorruptFileError, ModelNotFoundError


class Source(Protocol):
    """A named file of known size of which any part can be read."""

    @property
    def name(self) -> str:
        """What messages call the file."""
        ...

    @property
    def size(self) -> int:
        """The file's whole size in bytes."""
        ...

    def read(self, start: int, stop: int) -> bytes:
        """Read bytes `start` to `stop`; fewer come only where the file ends."""
        ...


class LocalFile:
    """A file on disk."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Look at the file's size; nothing is read yet."""
        self.name = os.fspath(path)
        self.size = os.stat(path).st_size

    def read(self, start: int, stop: int) -> bytes:
        """Read bytes `start` to `stop`.

        Raises:
            ModelNotFoundError: it can't be read.

        """
        try:
            file = os.open(self.name, os.O_RDONLY)
            try:
                return os.pread(file, stop - start, start)
            finally:
                os.close(file)
        except OSError as error:
            raise ModelNotFoundError(f"{self.name}: cannot be read ({error.strerror}).") from None


class Cursor:
    """Reads a header of unknown length from the front of a source, in growing steps, up to a limit."""

    FIRST_STEP = 2**20

    def __init__(self, source: Source, limit: int) -> None:
        """Read from `source`, never past `limit` bytes."""
        self.source, self.limit = source, limit
        self.buffer = b""
        self.at = 0

    def take(self, count: int) -> int:
        """Make `count` bytes available in `buffer` and step over them; return where they start.

        Raises:
            CorruptFileError: the header would end past the file, or past the limit.

        """
        start, stop = self.at, self.at + count
        if stop > len(self.buffer):
            self._grow(stop)
        self.at = stop
        return start

    def _grow(self, stop: int) -> None:
        if stop > self.source.size:
            raise CorruptFileError(
                f"{self.source.name}: the header claims {stop:,} bytes or more, the file has {self.source.size:,}."
            )
        if stop > self.limit:
            raise CorruptFileError(f"{self.source.name}: the header is longer than {self.limit:,} bytes; refused.")
        wanted = min(max(stop, self.FIRST_STEP, 2 * len(self.buffer)), self.source.size, self.limit)
        self.buffer += self.source.read(len(self.buffer), wanted)
        if len(self.buffer) < stop:
            raise CorruptFileError(f"{self.source.name}: ended after {len(self.buffer):,} bytes, inside its header.")
