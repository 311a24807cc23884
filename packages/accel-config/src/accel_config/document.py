"""A config file's text as nodes that keep their places: the shape of YAML, without what a config must not hold.

PyYAML parses the text into events and the nodes are made here, so an unquoted ``no`` or ``0123`` stays the text that
the user wrote, each node knows where it stands, and bounds are kept while reading: PyYAML's own composer, in C, ends
the process on a text that nests deeply enough.
"""

from __future__ import annotations

from .errors import SettingError
from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

LARGEST = 1_000_000  # bytes; a config is a few hundred
DEEPEST = 50
MOST_NODES = 10_000
NULL_WORDS = frozenset(("", "~", "null", "Null", "NULL"))
STANDARD = "tag:yaml.org,2002:"
STRANGE = "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
"""Characters that JSON may hold and YAML may not, or takes for ends of lines."""
KNOWN_TAGS = frozenset(STANDARD + name for name in ("null", "bool", "int", "float", "str", "map", "seq", "timestamp"))


class Node(Record):
    """A piece of a document: text, nothing, a list of nodes, or pairs of key and node."""

    value: str | list[Node] | list[tuple[Node, Node]] | None
    line: int
    """From 1."""
    mapping: bool = False
    start: int = 0
    """Where it begins in the text: characters after the byte order mark, if there is one."""
    end: int = 0
    """Where it ends."""
    bare: bool = False
    """Whether it is text without quotes, which YAML takes for a number or a boolean where it looks like one."""
    flow: bool = False
    """Whether it is written in brackets or braces."""
    alias: bool = False
    """Whether it only points to a node elsewhere."""

    def pairs(self) -> list[tuple[Node, Node]]:
        """Return a mapping's pairs; any other node has none."""
        return self.value if self.mapping and isinstance(self.value, list) else []  # pyright: ignore[reportReturnType]

    def items(self) -> list[Node]:
        """Return a list's nodes; any other node has none."""
        return [] if self.mapping or not isinstance(self.value, list) else self.value  # pyright: ignore[reportReturnType]

    def plain(self) -> object:
        """Return the node as text, list and dict; None for null."""
        if self.mapping:
            return {str(key.value): node.plain() for key, node in self.pairs()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.items()]
        return self.value

    def read(self, kind: type) -> object:
        """Return the node for a setting of this kind: text, but numbers as YAML has them (``0x10``, ``010``)."""
        if kind is dict:
            return self.typed()
        if self.bare and isinstance(self.value, str) and not _stays(kind, self.value):
            typed = self.typed()
            if isinstance(typed, (int, float)) and not isinstance(typed, bool):
                return typed
        return self.plain()

    def typed(self) -> object:
        """Return the node in YAML's own types; what only looks like one of them (a 13th month) stays text."""
        if self.mapping:
            return {str(key.value): node.typed() for key, node in self.pairs()}
        if isinstance(self.value, list):
            return [node.typed() for node in self.items()]
        if self.value is None or not self.bare:
            return self.value
        import yaml

        loader: Any = yaml.SafeLoader("")
        tag: str = loader.resolve(yaml.ScalarNode, self.value, (True, False))
        try:
            return loader.construct_object(yaml.ScalarNode(tag, self.value))
        except (ValueError, OverflowError):
            return self.value


def _stays(kind: type, text: str) -> bool:
    """Whether unquoted text stays as it is: for what is no number, for plain digits, and for a range (``2:4``)."""
    if not issubclass(kind, (int, float)) or kind is bool:
        return True
    return (text.isdecimal() and text[0] != "0") or (":" in text and kind not in (int, float))


def compose(content: bytes, path: str) -> Node | None:
    """Return the mapping that ``content`` holds, None where it is empty; ``path`` is for messages and tells JSON.

    Raises:
        SettingError: it is no UTF-8 text, no YAML (or JSON), or no mapping; or it nests or repeats beyond reason.
    """
    text = decode(content, path)
    root = _compose_json(text, path) if path.endswith(".json") and text.strip() else _compose(text, path, _same)
    if root is not None and not root.mapping and root.value is not None:
        raise SettingError(f"{path}:{root.line}: a config file is a mapping of settings, not this")
    return root if root is not None and root.mapping else None


def decode(content: bytes, path: str) -> str:
    """Return the text of a config file, without a byte order mark; line ends stay as they are.

    Raises:
        SettingError: it is no UTF-8 text, or too long for a config file.
    """
    if len(content) > LARGEST:
        raise SettingError(f"{path}:1: larger than {LARGEST} bytes: this is no config file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingError(f"{path}:{line}: this is no UTF-8 text") from None


def _compose_json(text: str, path: str) -> Node | None:
    """Compose JSON, which is YAML but for some characters; the nodes keep their places in the text as it is."""
    import json
    from bisect import bisect_right

    try:
        json.loads(text, parse_int=str)  # as text: Python refuses to read a number of thousands of digits
    except json.JSONDecodeError as error:
        raise SettingError(f"{path}:{error.lineno}: this is no JSON: {error.msg}") from None
    except RecursionError:
        raise SettingError(f"{path}:1: nested or repeated beyond what a config file needs") from None
    yaml, ends, shifts = _as_yaml(text)

    def place(index: int) -> int:
        return index + shifts[bisect_right(ends, index)]

    return _compose(yaml, path, place)


def _as_yaml(text: str) -> tuple[str, list[int], list[int]]:
    """Return JSON as YAML: ends of what had to be written otherwise, and how far the text is moved before each."""
    import json
    import re

    strange = rf"\\u(d[89ab][0-9a-f]{{2}})\\u(d[c-f][0-9a-f]{{2}})|\\.|{STRANGE}"
    parts: list[str] = []
    ends: list[int] = []
    shifts = [0]
    done = 0
    length = 0
    for found in re.finditer(strange, text, re.IGNORECASE):
        old = found[0]
        new = json.loads(f'"{old}"') if found[1] else old if old[0] == "\\" else f"\\u{ord(old):04x}"
        if new == old:
            continue
        parts += [text[done : found.start()], new]
        length += len(parts[-2]) + len(new)
        done = found.end()
        ends.append(length)
        shifts.append(done - length)
    # A tab can't stand inside a JSON string, and YAML allows none between.
    return ("".join(parts) + text[done:]).replace("\t", " "), ends, shifts


def escaped(text: str) -> str:
    """Return JSON with those characters in escapes that it may hold and YAML may not, or takes for ends of lines."""
    import re

    return re.sub(STRANGE, lambda found: f"\\u{ord(found[0]):04x}", text)


def _same(index: int) -> int:
    return index


def _compose(text: str, path: str, place: Callable[[int], int]) -> Node | None:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Composer(yaml.parse(text, Loader=loader), path, place).root()  # pyright: ignore[reportUnknownMemberType]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise SettingError(f"{path}:{line}: this can't be read as YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SettingError(f"{path}:{line}: this can't be read as YAML: {error.reason}") from None


class _Composer:
    """Makes nodes of PyYAML's events, within bounds: an alias counts as its whole node again."""

    def __init__(self, events: Iterator[Any], path: str, place: Callable[[int], int]) -> None:
        self.events, self.path, self.left = events, path, MOST_NODES
        self.place = place
        """Where a character of what is parsed stands in the file's text."""
        self.anchors: dict[str, tuple[Node, int]] = {}

    def root(self) -> Node | None:
        """Return the one document's node, None where there is none."""
        found: Node | None = None
        for event in self.events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent" and found is not None:
                raise self._refusal(event, "a second document begins here: a config file has one")
            if kind == "DocumentStartEvent":
                found = self.node(next(self.events), 0)
        return found

    def node(self, event: Any, depth: int) -> Node:
        """Return the node that begins with ``event``."""
        self.left -= 1
        if self.left < 0 or depth > DEEPEST:
            raise self._refusal(event, "nested or repeated beyond what a config file needs")
        kind = type(event).__name__
        if kind == "AliasEvent":
            return self._alias(event)
        if event.tag not in KNOWN_TAGS and event.tag not in (None, "!"):
            raise self._refusal(event, f"the tag {event.tag.replace(STANDARD, '!!')} isn't allowed in a config file")
        before = self.left
        make = {"MappingStartEvent": self._mapping, "SequenceStartEvent": self._sequence}.get(kind, self._scalar)
        node = make(event, depth + 1)
        if event.anchor is not None:
            self.anchors[event.anchor] = node, before - self.left
        return node

    def _alias(self, event: Any) -> Node:
        if event.anchor not in self.anchors:
            raise self._refusal(event, f"*{event.anchor} points to nothing above it")
        node, size = self.anchors[event.anchor]
        self.left -= size
        return node.replace(**self._span(event.start_mark, event.end_mark.index), alias=True)

    def _scalar(self, event: Any, _depth: int) -> Node:
        bare: bool = event.implicit[0] and event.tag is None
        null = (bare and event.value in NULL_WORDS) or event.tag == STANDARD + "null"
        value = None if null else event.value
        return Node(value, **self._span(event.start_mark, event.end_mark.index), bare=bare)

    def _sequence(self, start: Any, depth: int) -> Node:
        items: list[Node] = []
        for event in self.events:
            if type(event).__name__ == "SequenceEndEvent":
                return self._collection(items, start, items[-1].end if items else 0, event)
            items.append(self.node(event, depth))
        raise AssertionError("a sequence always ends")  # pragma: no cover

    def _mapping(self, start: Any, depth: int) -> Node:
        pairs: list[tuple[Node, Node]] = []
        for event in self.events:
            if type(event).__name__ == "MappingEndEvent":
                end = pairs[-1][1].end if pairs else 0
                return self._collection(self._merged(pairs), start, end, event).replace(mapping=True)
            key = self.node(event, depth)
            pairs.append((key, self.node(next(self.events), depth)))
        raise AssertionError("a mapping always ends")  # pragma: no cover

    def _collection(self, value: list[Any], start: Any, last: int, end: Any) -> Node:
        """Return the node; one in block style ends with its last item, where PyYAML goes on to the next token."""
        span = self._span(start.start_mark, end.end_mark.index)
        if not start.flow_style:
            span["end"] = last
        return Node(value, **span, flow=start.flow_style)

    def _span(self, start: Any, end: int) -> dict[str, Any]:
        """Return where a node stands in the file's own text."""
        return {"line": start.line + 1, "start": self.place(start.index), "end": self.place(end)}

    def _merged(self, pairs: list[tuple[Node, Node]]) -> list[tuple[Node, Node]]:
        """Return ``pairs`` with those of ``<<: *anchor`` in its place, where they aren't said again."""
        said = {key.value for key, _value in pairs if isinstance(key.value, str)}
        found: list[tuple[Node, Node]] = []
        for key, value in pairs:
            if key.value != "<<" or not key.bare:
                found.append((key, value))
                continue
            for mapping in value.items() or [value]:
                new = [pair for pair in mapping.pairs() if pair[0].value not in said]
                said.update(key.value for key, _value in new if isinstance(key.value, str))
                self.left -= len(new)
                found += [(key.replace(alias=True), value.replace(alias=True)) for key, value in new]
        return found

    def _refusal(self, event: Any, why: str) -> SettingError:
        return SettingError(f"{self.path}:{event.start_mark.line + 1}: {why}")
