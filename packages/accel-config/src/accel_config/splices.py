"""A config file's text with keys taken out and values replaced where they stand, every other byte as it was."""

from __future__ import annotations

from .document import compose, decode
from .edit import BOM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .document import Node


class Splices:
    """Changes to one text, gathered first and made from the end on, so that places stay true."""

    def __init__(self, content: bytes, path: str) -> None:
        """Read ``content``; ``path`` is for messages and tells JSON.

        Raises:
            AccelError: it can't be read.
        """
        self.text, self.path = decode(content, path), path
        self.bom = BOM if content.startswith(BOM) else b""
        self.root = compose(content, path)
        self.splices: list[tuple[int, int, str]] = []
        self.said: list[str] = []
        """What is to be told of each change."""
        self.removed_from: set[int] = set()

    def applied(self) -> bytes:
        """Return the content with the changes made."""
        text = self.text
        for start, end, new in sorted(self.splices, reverse=True):
            text = text[:start] + new + text[end:]
        return self.bom + text.encode()

    def of(self, node: Node) -> str:
        """Return a node's own text."""
        return self.text[node.start : node.end].rstrip()

    def splice(self, node: Node, new: str) -> None:
        """Put ``new`` where the node stands."""
        self.splices.append((node.start, node.start + len(self.of(node)), new))

    def remove(self, mapping: Node, place: int, path: str, why: str) -> None:
        """Take out a key with its value: whole lines, or the part between commas, then only one in a look."""
        if mapping.flow and mapping.start in self.removed_from:
            return
        self.removed_from.add(mapping.start)
        pairs = mapping.pairs()
        key, node = pairs[place]
        end = max(key.end, key.start + len(self.text[key.start : node.end].rstrip()))
        if not mapping.flow:
            start = self.text.rfind("\n", 0, key.start) + 1
            end = self.text.find("\n", end) + 1 or len(self.text)
        elif place + 1 < len(pairs):
            start, end = key.start, pairs[place + 1][0].start
        else:
            start = max(pairs[place - 1][1].end, pairs[place - 1][0].end) if place else key.start
        self.splices.append((start, end, ""))
        self.said.append(f"{path} is gone: {why}")
