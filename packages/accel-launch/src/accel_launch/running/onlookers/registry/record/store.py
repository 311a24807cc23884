"""What a detached run prints: kept in its record, the oldest left out.

A file holds pieces of output, each after a line with its time, rank, stream and length in bytes. Two files hold half
of the limit each: once the newer one is full, it takes the place of the older one.
"""

from __future__ import annotations

import os
import time

from accel_launch.running.caller import Caller
from accel_launch.running.output.log_file import STDERR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from accel_launch.running.report.records import Event

NEWER, OLDER = "output", "output.older"
LAUNCHER = -1
"""The rank of the launcher's own lines."""
HEAD = 64  # bytes of a piece's first line, at most
LARGEST = 1 << 24  # bytes of a piece


class Store(Caller):
    """Takes the output of the ranks in place of the standard streams, and writes it."""

    def __init__(self, path: str, limit: int) -> None:
        """Write to the folder ``path``.

        Raises:
            OSError: the file can't be made.
        """
        super().__init__(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), lines=True)
        self.path, self.limit = path, limit
        self.fd = self._opened()
        self.size = 0

    def _opened(self) -> int:
        how = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(os.path.join(self.path, NEWER), how, 0o600)

    def print(self, rank: int, fd: int, data: bytes) -> None:
        """Keep what a rank has printed to its descriptor ``fd``."""
        piece = b"%.3f %d %d %d\n" % (time.time(), rank, fd, len(data)) + data
        try:
            if self.size and self.size + len(piece) > self.limit // 2:
                os.replace(os.path.join(self.path, NEWER), os.path.join(self.path, OLDER))
                os.close(self.fd)
                self.fd, self.size = self._opened(), 0
            written = os.write(self.fd, piece)
            while written < len(piece):
                written += os.write(self.fd, piece[written:])
            self.size += len(piece)
        except OSError as error:
            self.failure = f"the output of the run is incomplete: {error.strerror}"
            try:
                os.ftruncate(self.fd, self.size)  # a piece is there whole or not at all
            except OSError:
                pass

    def say(self, line: str) -> bool:
        """Keep a line of the launcher."""
        self.print(LAUNCHER, STDERR, line.encode(errors="replace"))
        return True

    def event(self, event: Event) -> None:
        """Leave events to the record."""


class Piece:
    """What was printed at once."""

    def __init__(self, at: float, rank: int, stream: int, data: bytes) -> None:
        """Take its time, its rank, its stream and its bytes."""
        self.at, self.rank, self.stream, self.data = at, rank, stream, data


class Reader:
    """Reads the output of a run in its order, also while it is written."""

    def __init__(self, path: str, *, from_now: bool = False) -> None:
        """Read from the folder ``path``; ``from_now`` leaves out what is there already."""
        self.path, self.rest = path, b""
        newer = self._open(NEWER)  # first: the other one may be replaced by this one meanwhile
        older = [] if from_now else self._open(OLDER)
        if from_now and newer:
            os.lseek(newer[0], 0, os.SEEK_END)
        if older and newer and os.path.sameopenfile(older[0], newer[0]):
            os.close(older.pop())
        self.files = older + newer
        """The open files to read, the oldest first."""

    def _open(self, name: str) -> list[int]:
        try:
            return [os.open(os.path.join(self.path, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)]
        except OSError:
            return []

    def read(self) -> Iterator[Piece]:
        """Yield what has come since the last time."""
        while True:
            self.files = self.files or self._open(NEWER)
            if not self.files:
                return
            last = len(self.files) > 1 or self._replaced()  # before it is read to its end: nothing is added then
            while data := os.read(self.files[0], 1 << 20):
                self.rest += data
                yield from self._whole()
            if not last:
                return
            os.close(self.files.pop(0))
            self.rest = b""

    def _replaced(self) -> bool:
        """Return whether another file takes what is written now."""
        try:
            return os.stat(os.path.join(self.path, NEWER)).st_ino != os.fstat(self.files[0]).st_ino
        except OSError:
            return False

    def _whole(self) -> Iterator[Piece]:
        """Yield the pieces that are there whole."""
        place = 0
        while (end := self.rest.find(b"\n", place, place + HEAD)) >= 0:
            try:
                at, rank, stream, size = self.rest[place:end].split(b" ")
                piece = Piece(float(at), int(rank), int(stream), self.rest[end + 1 : end + 1 + int(size)])
                whole = int(size)
            except ValueError:  # damaged: the next line may begin a piece
                place = end + 1
                continue
            if len(piece.data) < whole <= LARGEST:
                break
            place = end + 1 + len(piece.data)
            yield piece
        self.rest = self.rest[place:]


def kept(path: str) -> bool:
    """Return whether a record keeps output."""
    return os.path.lexists(os.path.join(path, NEWER))
