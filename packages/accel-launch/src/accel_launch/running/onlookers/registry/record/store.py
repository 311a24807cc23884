"""What a detached run prints: kept in its record, the oldest left out.

A file holds pieces of output, each after a line with its time, its rank, its stream, its length in bytes, and its
place in all that the run has printed. The place tells a reader that begins within a piece, or after a damaged one,
which line is really the first one of a piece, whatever ranks print; and how much it has missed. Two files hold half
of the limit each: once the newer one is full, it takes the place of the older one.
"""

from __future__ import annotations

import os
from contextlib import suppress

from accel_launch.machine.clock import steady
from accel_launch.running.caller import Caller
from accel_launch.running.output.log_file import STDERR
from accel_launch.running.output.stream import LINE_ENDS, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from accel_launch.running.output.stream import Source
    from accel_launch.running.report.records import Event

NEWER, OLDER = "output", "output.older"
LAUNCHER = -1
"""The rank of the launcher's own lines."""


class Printed(Stream):
    """What all ranks print, in the order in which a terminal would show it: no line is torn apart."""

    def __init__(self, fd: int, store: Store) -> None:
        super().__init__(fd)
        self.store = store

    def _add(self, source: Source | None, data: bytes) -> None:
        self.store.keep(source, data)


class Store(Caller):
    """Takes the output of the ranks in place of the standard streams, and writes it."""

    records = True

    def __init__(self, path: str, limit: int, note: Callable[[str], object] = lambda _text: None) -> None:
        """Write to the folder ``path``; ``note`` is called with what couldn't be kept: the bytes so far, and errno.

        Raises:
            OSError: the file can't be made.
        """
        super().__init__(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), lines=True)
        self.path, self.limit, self.note = path, limit, note
        self.fd = self._opened()
        self.size, self.whole = 0, 0
        """The bytes in the newer file, and in all."""
        self.lost, self.gap, self.torn = 0, 0, False
        """The bytes that couldn't be kept, those since the last piece, and whether that one ends within a line."""

    def _opened(self) -> int:
        how = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(os.path.join(self.path, NEWER), how, 0o600)

    def _stream(self, fd: int) -> Stream:
        return Printed(fd, self)

    def keep(self, source: Any, data: bytes) -> None:
        """Keep what comes from a rank's channel, or without one from the launcher."""
        if source is None:
            self.print(LAUNCHER, STDERR, data)
        else:
            self.print(source.is_rank(), source.number, data)

    def print(self, rank: int, fd: int, data: bytes) -> None:
        """Keep what a rank has printed to its descriptor ``fd``, after a line about what is missing before it."""
        missing = self._piece(0, LAUNCHER, STDERR, self._missing()) if self.gap else b""
        whole = missing + self._piece(len(missing), rank, fd, data)
        try:
            if self.size and self.size + len(whole) > self.limit // 2:
                self._rotate()
            written = os.write(self.fd, whole)
            while written < len(whole):
                written += os.write(self.fd, whole[written:])
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self.fd, self.size)  # a piece is there whole or not at all
            self.failure = f"the output of the run is incomplete: {error.strerror}"
            self.lost, self.gap = self.lost + len(data), self.gap + len(data)
            self.note(f"{self.lost}/{error.errno}")
            return
        self.size += len(whole)
        self.whole += len(whole)
        self.gap, self.torn = 0, not data.endswith(LINE_ENDS)

    def _piece(self, place: int, rank: int, fd: int, data: bytes) -> bytes:
        return b"\x1e%.3f %d %d %d %d\n" % (steady(), rank, fd, len(data), self.whole + place) + data

    def _missing(self) -> bytes:
        why = self.failure.rpartition(": ")[2]
        return b"\n" * self.torn + f"accel: {self.gap} bytes of output are missing here: {why}\n".encode()

    def _rotate(self) -> None:
        """Begin another file; on a full disk the old one stays open, and this is tried again."""
        newer = os.path.join(self.path, NEWER)
        if os.path.lexists(newer):
            os.replace(newer, os.path.join(self.path, OLDER))
        fd = self._opened()
        os.close(self.fd)
        self.fd, self.size = fd, 0

    def say(self, line: str) -> bool:
        """Keep a line of the launcher."""
        self.stream.put(None, line.encode(errors="replace"))
        return True

    def event(self, event: Event) -> None:
        """Leave events to the record."""
