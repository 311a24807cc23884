"""Bytes that can be read by position. Files on disk are here, files on the Hub in `sources.hub`."""

from __future__ import annotations

import os
from threading import Lock
from typing import Protocol

from accel_estimate.errors import CorruptFileError, ModelNotFoundError


class Source(Protocol):
    """A named file of known size, any part of which can be read."""

    @property
    def name(self) -> str:
        """The file's name in messages."""
        ...

    @property
    def size(self) -> int:
        """The size of the whole file in bytes."""
        ...

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop`, or fewer where the file ends."""
        ...


class LocalFile:
    """A file on disk."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Look up the file's size; nothing is read yet."""
        self.name = os.fspath(path)
        self.size = os.stat(path).st_size

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop`.

        Raises:
            ModelNotFoundError: the file can't be read.

        """
        try:
            with open(self.name, "rb", buffering=0) as file:
                file.seek(start)
                return file.read(stop - start)
        except OSError as error:
            raise ModelNotFoundError(f"{self.name}: can't be read: {error.strerror}") from None


class Allowance:
    """The bytes that may still be read of several files together, from threads too."""

    def __init__(self, most: int, what: str) -> None:
        """Allow `most` bytes of `what`."""
        self._most, self._what = most, what
        self._taken, self._lock = 0, Lock()

    def take(self, count: int) -> None:
        """Use some of them up.

        Raises:
            CorruptFileError: there are too few left.

        """
        with self._lock:
            self._taken += count
            if self._taken > self._most:
                raise CorruptFileError(
                    f"{self._what} have more than the {self._most:,} bytes that are accepted together"
                )


class Metered:
    """A file whose bytes are taken from an allowance when they are first read."""

    def __init__(self, source: Source, allowance: Allowance) -> None:
        """Take a file of which nothing was read."""
        self.name, self.size = source.name, source.size
        self._source, self._allowance, self._read = source, allowance, 0

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop`.

        Raises:
            CorruptFileError: the allowance is used up.

        """
        end = min(stop, self.size)
        if end > self._read:
            self._allowance.take(end - self._read)
            self._read = end
        return self._source.read(start, stop)


class Cursor:
    """A reader of a header of unknown length, from the front of a source in growing steps, up to a limit."""

    FIRST_STEP = 2**20

    def __init__(self, source: Source, limit: int) -> None:
        """Read from `source`, never more than `limit` bytes."""
        self.source, self.limit = source, limit
        self.buffer = b""
        self.at = 0

    def take(self, count: int) -> int:
        """Make `count` bytes available in `buffer`, move past them, and return where they start.

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
                f"{self.source.name}: the header claims {stop:,} bytes or more, but the file has {self.source.size:,}"
            )
        if stop > self.limit:
            raise CorruptFileError(
                f"{self.source.name}: the header is longer than the {self.limit:,} bytes that are accepted"
            )
        wanted = min(max(stop, self.FIRST_STEP, 2 * len(self.buffer)), self.source.size, self.limit)
        self.buffer += self.source.read(len(self.buffer), wanted)
        if len(self.buffer) < stop:
            raise CorruptFileError(f"{self.source.name}: ends after {len(self.buffer):,} bytes, inside its header")
