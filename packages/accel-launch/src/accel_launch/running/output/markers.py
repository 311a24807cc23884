"""Lines for us in a stream that another program writes too, each known by a mark that nobody else has."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 512  # bytes of a line for us


class Markers:
    """Splits a stream that arrives in pieces at lines that contain a mark."""

    def __init__(self, mark: bytes, longest: int = LONGEST) -> None:
        """Look for ``mark``, and take no more than ``longest`` bytes for its line."""
        self.mark, self.longest = mark, longest
        self._rest = b""

    def split(self, data: bytes) -> Iterator[bytes | str]:
        """Yield the parts of ``data`` in order: bytes of the program, and the text after a mark in its line."""
        data = self._rest + data
        while (place := data.find(self.mark)) >= 0 and (end := data.find(b"\n", place)) >= 0:
            yield data[:place]
            yield data[place + len(self.mark) : end].decode(errors="replace")
            data = data[end + 1 :]
        kept = self._beginning(data) if place < 0 else len(data) - place
        kept = 0 if kept > self.longest else kept
        self._rest = data[len(data) - kept :]
        yield data[: len(data) - kept]

    def rest(self) -> bytes:
        """Return the bytes that may have begun a line for us; the stream ended before that line."""
        rest, self._rest = self._rest, b""
        return rest

    def _beginning(self, data: bytes) -> int:
        """Return how many bytes at the end of ``data`` may be the beginning of the mark."""
        return next((n for n in range(min(len(data), len(self.mark) - 1), 0, -1) if data.endswith(self.mark[:n])), 0)
