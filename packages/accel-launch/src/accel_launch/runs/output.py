"""What a detached run prints, by its record."""

from __future__ import annotations

import time

from accel_launch.running.onlookers.registry import reading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from accel_launch.running.onlookers.registry.record.piece import Piece
    from accel_launch.running.onlookers.registry.record.reader import Reader

SOON = 0.1  # seconds between two looks at what a run prints


class Output:
    """What a detached run has printed, and prints; each piece has ``at``, ``rank``, ``stream`` and ``data``."""

    def __init__(self, run: reading.Run, reader: Reader) -> None:
        """Take it from `Run.output`."""
        self._run, self._reader = run, reader
        self._lost = reading.lost(run)[0] if reader.next < 0 else 0

    @property
    def missed(self) -> int:
        """The bytes that left the record before they were read here; as far as one can know, within ``since``."""
        return self._reader.missed

    def __iter__(self) -> Iterator[Piece]:
        """Yield what `read` does."""
        return self.read()

    @property
    def lost(self) -> tuple[int, str]:
        """The bytes that the record couldn't take, as on a full disk, and why."""
        size, reason = reading.lost(self._run)
        return max(0, size - self._lost), reason

    def read(self, since: float | None = None) -> Iterator[Piece]:
        """Yield what is there and wasn't read yet; with ``since`` what was printed in so many last seconds."""
        return self._recent(self._reader.read(), self._from(since))

    def follow(self, since: float | None = None) -> Iterator[Piece | None]:
        """Yield what comes until the run has ended, and None after each look."""
        begin = self._from(since)
        while True:
            self._run.look()
            over = not self._run.held
            yield from self._recent(self._reader.read(), begin)
            yield None
            if over:
                return
            time.sleep(SOON)

    def _from(self, since: float | None) -> float:
        return 0.0 if since is None else self._run.now - since

    def _recent(self, pieces: Iterable[Piece], begin: float) -> Iterator[Piece]:
        for piece in pieces:
            if piece.at >= begin:
                yield piece
            else:
                self._reader.missed = 0  # all that was left out was older still
