"""The end of a rank's standard error, kept for the failure report, from the head of its last traceback on."""

from __future__ import annotations

TRACEBACK = b"Traceback (most recent call last)"
TAIL = 1 << 15  # bytes
MOST_LINES = 100  # that stand for those left out: no message that is told has as many
LEFT_OUT = b"..."
SIGNS = ((b"", 1), (b" ", -1), (b"\n", -1))
"""Line ends, less those before an indented or an empty line."""


class Tail:
    """The last bytes; of a traceback with a longer message, its beginning too."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.end, self.head = bytearray(), bytearray()
        self.lines = 0
        """Lines between the two that aren't indented."""

    def add(self, data: bytes) -> bool:
        """Take what was written; return whether a traceback begins in it."""
        begins = TRACEBACK in self.end[1 - len(TRACEBACK) :] + data  # it may come in two parts
        self.end += data
        if len(self.end) > 2 * TAIL:
            self._forget(bytes(self.end[:-TAIL]))
            del self.end[:-TAIL]
        return begins

    def _forget(self, data: bytes) -> None:
        """Forget ``data``, but not the beginning of a traceback to which what follows may belong."""
        at = (data + self.end[len(data) : len(data) + len(TRACEBACK) - 1]).rfind(TRACEBACK)
        if at >= 0:
            self.head.clear()
            self.lines = 0
            data = data[data.rfind(b"\n", 0, at) + 1 :]
        if at >= 0 or self.head:
            room = TAIL - len(self.head)
            self.head += data[:room]
            self.lines += sum(data[max(room, 0) :].count(b"\n" + letter) * sign for letter, sign in SIGNS)

    def __bytes__(self) -> bytes:
        """Return what is kept; ``...`` stands for what is left out."""
        if not self.head or TRACEBACK in self.end:
            return bytes(self.end)
        return bytes(self.head) + LEFT_OUT + (b"\n" + LEFT_OUT) * min(self.lines, MOST_LINES) + bytes(self.end)
