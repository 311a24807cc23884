"""A config file's text with values put in, replaced and taken out where they stand, every other byte as it was."""

from __future__ import annotations

from accel_config.errors import AccelError
from accel_config.reading.document import compose, decode
from accel_config.writing import spelling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_config.reading.node import Node
    from accel_config.settings.declaration import Setting

BOM = b"\xef\xbb\xbf"
INDENT = "  "
MOST_PASSES = 50


class Splices:
    """Changes to one text: gathered first, then made from the end on, so that places stay true."""

    def __init__(self, content: bytes, path: str) -> None:
        """Read ``content``; ``path`` is for messages, and its ending distinguishes JSON from YAML.

        Raises:
            AccelError: it can't be read.
        """
        self.text, self.path = decode(content, path), path
        self.bom = BOM if content.startswith(BOM) else b""
        self.root = compose(content, path)
        self.changes: list[str] = []
        """A line on each change, for the user."""
        self._newline = "\r\n" if "\r\n" in self.text else "\n"
        self._json = path.endswith(".json")
        self._splices: list[tuple[int, int, str]] = []
        self._removed_from: set[int] = set()

    def applied(self) -> bytes:
        """Return the content with the changes made."""
        text = self.text
        for start, end, new in sorted(self._splices, reverse=True):
            text = text[:start] + new + text[end:]
        return self.bom + text.encode()

    def find(self) -> None:
        """Gather the changes of one pass; for subclasses. The next pass finds what this one has to leave."""

    @classmethod
    def rewrite(cls, content: bytes, path: str) -> tuple[bytes, list[str]]:
        """Return the content after passes that find changes until there are none, and a line on each change.

        Raises:
            AccelError: the content can't be read.
        """
        lines: list[str] = []
        for _pass in range(MOST_PASSES):
            splices = cls(content, path)
            splices.find()
            if not splices.changes:
                break
            content = splices.applied()
            lines += splices.changes
        return content, lines

    def of(self, node: Node) -> str:
        """Return a node's own text."""
        return self.text[node.start : node.end].rstrip()

    def replace(self, node: Node, new: str) -> None:
        """Put ``new`` where the node stands."""
        self._splices.append((node.start, node.start + len(self.of(node)), new))

    def remove(self, mapping: Node, place: int, path: str, why: str) -> None:
        """Take out a key with its value: whole lines, or the part between commas; then only one key in a pass."""
        if mapping.flow and mapping.start in self._removed_from:
            return
        self._removed_from.add(mapping.start)
        pairs = mapping.pairs()
        key, node = pairs[place]
        end = max(key.end, key.start + len(self.text[key.start : node.end].rstrip()))
        if not mapping.flow:
            start, end = self._line(key.start), self._next_line(end)
        elif place + 1 < len(pairs):
            start, end = key.start, pairs[place + 1][0].start
        else:
            start = max(pairs[place - 1][1].end, pairs[place - 1][0].end) if place else key.start
        self._splices.append((start, end, ""))
        self.changes.append(f"{path} is removed: {why}")

    def put(self, one: Setting, value: object) -> None:
        """Set a setting to ``value``, in the types of a file, under the key that it has there; or add its key.

        Raises:
            AccelError: the text can't be changed there.
        """
        name, own = _parts(str(one.key))
        if self.root is None:
            fresh = spelling.document({name: {own: value}} if name else {own: value}, self.path)
            self._insert(len(self.text), self._missing_newline(len(self.text), "\n") + fresh)
            return
        mapping, spelled = self.root, spelling.scalar(value, self.path)
        if name:
            inner = self._find(self.root, (name,))
            if inner is not None and inner[1].alias:
                raise AccelError(f"{self.path}:{inner[1].line}: {name} is an alias (*): edit the file by hand")
            if inner is None or inner[1].value is None:
                self._put_mapping(name, own, spelled, inner)
                return
            mapping = inner[1]
            if not mapping.mapping:
                raise AccelError(f"{self.path}:{mapping.line}: {name} must be a mapping of settings")
        found = self._find(mapping, [_parts(key)[1] for key in one.keys])
        if found is None:
            self._add(mapping, own, spelled)
        elif not isinstance(value, (dict, list)) or found[1].typed() != value:
            self._put_value(*found, spelled)  # a list or mapping that is the same keeps the lines it is written on

    def _put_mapping(self, name: str, own: str, spelled: str, empty: tuple[Node, Node] | None) -> None:
        """Add a mapping of one key, or write it where an empty one stands."""
        flow = f"{{{self._key(own)}: {spelled}}}"
        if empty is not None:
            self._put_value(*empty, flow)
        elif self.root is not None:
            self._add(self.root, name, flow if self.root.flow else f"\n{INDENT}{own}: {spelled}")

    def _find(self, mapping: Node, names: Sequence[str]) -> tuple[Node, Node] | None:
        pairs = [(key, node) for key, node in mapping.pairs() if key.value in names and not key.alias]
        if len(pairs) > 1:
            raise AccelError(
                f"{self.path}:{pairs[1][0].line}: {pairs[1][0].value} is given twice: delete one of them"
            )
        return pairs[0] if pairs else None

    def _put_value(self, key: Node, node: Node, spelled: str) -> None:
        start, end = node.start, node.start + len(self.of(node))
        if isinstance(node.value, list) and not node.flow and not node.alias:
            # A list or mapping on lines of its own becomes a value on the key's line; a comment there stays.
            start = self.text.index(":", key.end) + 1
            spelled += self.text[start : node.start].rstrip()
        lead = "" if self.text[start - 1 : start].isspace() or self._json else " "
        self._splices.append((start, end, lead + spelled))

    def _add(self, mapping: Node, own: str, spelled: str) -> None:
        pairs = [(key, node) for key, node in mapping.pairs() if not key.alias]
        if mapping.flow:
            self._add_flow(mapping, pairs, f"{self._key(own)}: {spelled}")
            return
        if not pairs:
            raise AccelError(f"{self.path}:{mapping.line}: every key is merged in: edit the file by hand")
        first, last = pairs[0][0], pairs[-1][1]
        indent = " " * (first.start - self._line(first.start))
        place = self._next_line(len(self.text[: last.end].rstrip()))
        colon = ":" if spelled.startswith("\n") else ": "
        entry = self._newline.join(indent + row for row in f"{own}{colon}{spelled}".split("\n"))
        self._insert(place, self._missing_newline(place, self._newline) + entry + self._newline)

    def _add_flow(self, mapping: Node, pairs: list[tuple[Node, Node]], entry: str) -> None:
        if not pairs:
            self._insert(mapping.end - 1, entry)
            return
        key, last = pairs[-1]
        line = self._line(key.start)
        between = self.text[line : key.start]
        gap = self._newline + between if line > mapping.start and not between.strip() else " "
        self._insert(max(key.end, last.end), "," + gap + entry)

    def _insert(self, place: int, new: str) -> None:
        self._splices.append((place, place, new))

    def _line(self, place: int) -> int:
        """Return where the line of ``place`` begins."""
        return self.text.rfind("\n", 0, place) + 1

    def _next_line(self, place: int) -> int:
        """Return where the line after that of ``place`` begins; the text's end after the last one."""
        return self.text.find("\n", place) + 1 or len(self.text)

    def _missing_newline(self, place: int, newline: str) -> str:
        """Return what the text before ``place`` lacks to end with a whole line."""
        before = self.text[:place]
        return newline if before and not before.endswith("\n") else ""

    def _key(self, name: str) -> str:
        return f'"{name}"' if self._json else name


def _parts(key: str) -> tuple[str, str]:
    """Return the mapping (empty at the top level) and the key in it."""
    mapping, _dot, own = key.rpartition(".")
    return mapping, own
