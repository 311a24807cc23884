"""What a detached run has printed, read from its record: see `store`."""

from __future__ import annotations

import os
import re

from accel_launch.running.onlookers.registry.record.piece import Piece
from accel_launch.running.onlookers.registry.record.store import NEWER, OLDER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = re.compile(rb"\x1e(\d{1,15}\.\d{3}) (-?\d{1,9}) (\d) (\d{1,12}) (\d{1,18})\n")
LONGEST = 64  # bytes of a piece's first line, at most
NOWHERE = -1  # a place that isn't known


class Reader:
    """Reads the output of a run in its order, also while it is written."""

    def __init__(self, path: str, *, from_now: bool = False) -> None:
        """Read from the folder ``path``; ``from_now`` leaves out what is there already."""
        self.path, self.rest = path, b""
        self.missed = 0
        """Bytes that were left out of the record before they could be read."""
        self.files: list[int] = []
        """The open files to read, the oldest first."""
        self.next = NOWHERE if from_now else 0
        """The place of the next piece, if that is known."""
        self.at, self.base = 0, NOWHERE
        """Where in the oldest file the rest is, and the place of that file's begin in all that was printed."""
        self._open_all()
        if from_now and self.files:
            newest = self.files.pop()
            self.close()
            self.files = [newest]
            self.at = os.lseek(newest, 0, os.SEEK_END)

    def _open_all(self, done: int | None = None) -> None:
        """Open what there is, but not what is ``done``."""
        newer, older = self._open(NEWER), self._open(OLDER)  # in this order: the one becomes the other meanwhile
        for fd, other in ((older, newer), (newer, None)):
            if fd is None:
                continue
            if any(one is not None and os.path.sameopenfile(fd, one) for one in (other, done)):
                os.close(fd)
            else:
                self.files.append(fd)

    def _open(self, name: str) -> int | None:
        try:
            return os.open(os.path.join(self.path, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None

    def close(self) -> None:
        """Close the files."""
        while self.files:
            os.close(self.files.pop())

    def read(self) -> Iterator[Piece]:
        """Yield what has come since the last time."""
        while True:
            if not self.files:
                self._open_all()
            if not self.files:
                return
            last = len(self.files) > 1 or self._replaced()  # before it is read to its end: nothing is added then
            while data := os.read(self.files[0], 1 << 20):
                self.rest += data
                yield from self._whole()
            if not last:
                return
            done, self.rest, self.at, self.base = self.files.pop(0), b"", 0, NOWHERE
            if not self.files:
                self._open_all(done)
            os.close(done)

    def _replaced(self) -> bool:
        """Return whether another file takes what is written now."""
        try:
            return os.stat(os.path.join(self.path, NEWER)).st_ino != os.fstat(self.files[0]).st_ino
        except OSError:
            return False

    def _whole(self) -> Iterator[Piece]:
        """Yield the pieces that are there whole."""
        if self.base == NOWHERE:
            first = HEAD.match(os.pread(self.files[0], LONGEST, 0))
            if first is None:
                return
            self.base = int(first[5])
        place = 0
        while head := self._head(self.base, place):
            at, rank, stream, size, begin = head.groups()
            place, end = head.start(), head.end() + int(size)
            if end > len(self.rest):
                break
            if self.next != NOWHERE:
                self.missed += max(0, int(begin) - self.next)
            self.next, place = int(begin) + end - place, end
            yield Piece(float(at), int(rank), int(stream), self.rest[head.end() : end])
        else:
            place = max(place, len(self.rest) - LONGEST)  # what isn't the beginning of a piece
        self.rest = self.rest[place:]
        self.at += place

    def _head(self, base: int, place: int) -> re.Match[bytes] | None:
        """Return the next first line of a piece."""
        found = HEAD.finditer(self.rest, place)
        return next((one for one in found if int(one[5]) == base + self.at + one.start()), None)


def kept(path: str) -> bool:
    """Return whether a record keeps output."""
    return os.path.lexists(os.path.join(path, NEWER))
